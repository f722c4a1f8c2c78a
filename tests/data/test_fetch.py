import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pooch import downloaders

from egi.cli import UserError
from egi.data.fetch import fetch, is_remote

CONTENT = b"conformers" * 1000
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.pkl").write_bytes(CONTENT)
    made = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def test_download_with_checksum(server, tmp_path):
    made = fetch(f"{server}/a.pkl", tmp_path / "data" / "x.pkl", SHA256)
    assert made.read_bytes() == CONTENT and [p.name for p in made.parent.iterdir()] == ["x.pkl"]


@pytest.mark.parametrize(("name", "checksum"), [("a.pkl", "md5:" + "0" * 32), ("gone.pkl", None)])
def test_failed_download_leaves_nothing(server, tmp_path, name, checksum):
    output = tmp_path / "data" / "x.pkl"
    with pytest.raises(UserError, match=rf"{name} could not be downloaded to .*x\.pkl: "):
        fetch(f"{server}/{name}", output, checksum)
    assert list(output.parent.iterdir()) == []


def test_file_behind_a_doi_has_the_published_checksum(server, tmp_path, monkeypatch):
    """Zenodo's interface, served here: the record lists files with links and MD5 sums."""
    record = {"files": [{"key": "a.pkl", "links": {"self": f"{server}/a.pkl"}, "checksum": MD5}]}
    served = tmp_path / "served" / "7"
    served.write_text(json.dumps(record))
    monkeypatch.setattr(downloaders, "doi_to_url", lambda doi, **options: f"https://zenodo.org/records/{doi[-1]}")
    monkeypatch.setattr(downloaders.ZenodoRepository, "base_api_url", server)
    made = fetch("https://doi.org/10.5281/zenodo.7/a.pkl", tmp_path / "data" / "a.pkl")
    assert made.read_bytes() == CONTENT
    served.write_text(json.dumps(record).replace(MD5, "md5:" + "0" * 32))
    with pytest.raises(UserError, match=r"a\.pkl could not be downloaded to .*: MD5 hash of downloaded file"):
        fetch("doi:10.5281/zenodo.7/a.pkl", tmp_path / "other" / "a.pkl")
    served.write_text('{"status": 404, "message": "no such record"}')
    with pytest.raises(UserError, match=r"behind the DOI lists no files \('files'\); is the DOI right\?"):
        fetch("doi:10.5281/zenodo.7/a.pkl", tmp_path / "other" / "a.pkl")
    served.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"zenodo\.7 has no file b\.pkl; it has a\.pkl"):
        fetch("doi:10.5281/zenodo.7/b.pkl", tmp_path / "data" / "b.pkl")


def test_a_connection_that_breaks_leaves_nothing_and_the_next_try_is_whole(server, tmp_path, monkeypatch):
    def half(self, source, output):
        output.write(CONTENT[: len(CONTENT) // 2])

    output = tmp_path / "data" / "x.pkl"
    with monkeypatch.context() as broken, pytest.raises(UserError, match=r"a\.pkl could not be downloaded to"):
        broken.setattr(Quiet, "copyfile", half)
        fetch(f"{server}/a.pkl", output)
    assert list(output.parent.iterdir()) == []
    assert fetch(f"{server}/a.pkl", output).read_bytes() == CONTENT


def test_what_a_killed_download_left_is_removed_and_a_good_file_is_not_asked_for_again(server, tmp_path):
    output = tmp_path / "data" / "x.pkl"
    left = output.with_name(".x.pkl.part")
    left.mkdir(parents=True)
    (left / "tmp123").write_bytes(CONTENT[:500])
    assert fetch(f"{server}/a.pkl", output, SHA256).read_bytes() == CONTENT
    assert [path.name for path in output.parent.iterdir()] == ["x.pkl"]
    (tmp_path / "served" / "a.pkl").unlink()
    assert fetch(f"{server}/a.pkl", output, SHA256).read_bytes() == CONTENT


def test_damaged_file_is_downloaded_again(server, tmp_path):
    output = tmp_path / "x.pkl"
    output.write_bytes(CONTENT[:100])
    assert fetch(f"{server}/a.pkl", output, SHA256).read_bytes() == CONTENT


def test_local_file_and_folder_are_linked(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.pkl").write_bytes(CONTENT)
    assert fetch(str(source / "a.pkl"), tmp_path / "d" / "a", SHA256).read_bytes() == CONTENT
    assert (fetch(f"file://{source}", tmp_path / "d" / "b") / "a.pkl").is_file()


def test_bad_local_sources(tmp_path):
    with pytest.raises(UserError, match=r"source /nowhere/a\.pkl does not exist; wanted a local file"):
        fetch("/nowhere/a.pkl", tmp_path / "a")
    (tmp_path / "b").write_bytes(b"other")
    with pytest.raises(UserError, match=rf"b has sha256 \w+; wanted {SHA256}"):
        fetch(str(tmp_path / "b"), tmp_path / "a", SHA256)
    assert not (tmp_path / "a").exists()


def test_checksum_that_is_none(tmp_path):
    with pytest.raises(UserError, match="checksum '12ab'; allowed: md5, sha1, sha256 or sha512, a colon"):
        fetch("https://example.org/a", tmp_path / "a", "12ab")


def test_what_is_remote():
    assert all(map(is_remote, ("doi:10.5281/zenodo.1/a", "https://doi.org/10.5281/zenodo.1/a", "http://x/y")))
    assert not any(map(is_remote, ("data/a.pkl", "/data/a.pkl", "file:///data/a.pkl")))
