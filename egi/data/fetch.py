"""Archives by URL, DOI or local path."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pooch

from egi.cli import UserError
from egi.data.storage import atomic

CHECKSUM = r"(md5|sha1|sha256|sha512):[0-9a-fA-F]+"


def fetch(source: str, output: Path, checksum: str | None = None) -> Path:
    """Put an archive at a path; a download appears under its name only when complete and checked.

    Parameters
    ----------
    source : str
        URL (http, https, ftp), ``doi:10.5281/zenodo.N/FILE`` (Zenodo, figshare, Dataverse), or a local file or folder,
        which is linked, not copied.
    output : path
    checksum : str, optional
        ``md5:...`` or ``sha256:...``. Without one, a file behind a DOI must have the checksum that is published there.

    Raises
    ------
    UserError
        If the source does not exist, cannot be downloaded, or has another checksum.
    """
    if checksum and not re.fullmatch(CHECKSUM, checksum):
        raise UserError(f"checksum {checksum!r}; allowed: md5, sha1, sha256 or sha512, a colon, hexadecimal digits")
    output = Path(output)
    if is_remote(source):
        return _download(source.replace("https://doi.org/", "doi:"), output, checksum)
    path = Path(source.removeprefix("file://")).expanduser().resolve()
    if not path.exists():
        raise UserError(f"source {source} does not exist; wanted a local file or folder, a URL or a DOI")
    if checksum and path.is_file() and not pooch.hashes.hash_matches(path, checksum):
        algorithm = checksum.split(":")[0]
        raise UserError(f"{source} has {algorithm} {pooch.file_hash(str(path), alg=algorithm)}; wanted {checksum}")
    with atomic(output) as partial:
        os.symlink(path, partial)
    return output


def is_remote(source: str) -> bool:
    """Whether a source must be downloaded."""
    return source.startswith(("http://", "https://", "ftp://", "doi:"))


def _download(source: str, output: Path, checksum: str | None) -> Path:
    """Download and check in a folder of its own, which a killed run may leave and the next one removes; then rename."""
    downloader = pooch.core.choose_downloader(source, progressbar=True)
    folder = output.with_name(f".{output.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        if checksum is None and source.startswith("doi:"):
            checksum = _published_checksum(source)
        if checksum is None or not output.is_file() or not pooch.hashes.hash_matches(output, checksum):
            folder.mkdir(parents=True)
            made = pooch.retrieve(source, checksum, fname=output.name, path=folder, downloader=downloader)
            os.replace(made, output)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
        raise UserError(f"{source} could not be downloaded to {output}: {str(error).splitlines()[0]}") from error
    except KeyError as error:  # pooch looks up what the archive's answer should have
        raise UserError(f"{source}: the archive behind the DOI lists no files ({error}); is the DOI right?") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return output


def _published_checksum(source: str) -> str:
    """What the archive behind a DOI says the file's checksum is."""
    base, _, name = source.rpartition("/")
    archive = pooch.create(path="", base_url=f"{base}/")
    archive.load_registry_from_doi()
    if name not in archive.registry:
        raise ValueError(f"{base} has no file {name}; it has {', '.join(sorted(archive.registry))}")
    return archive.registry[name]
