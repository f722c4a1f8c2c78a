"""Print the packages of this environment with their versions, without local build tags."""

from importlib.metadata import distributions

NOT_PINNED = {"egi", "pip", "setuptools", "wheel"}

if __name__ == "__main__":
    found = {d.metadata["Name"].lower(): d.version.split("+")[0] for d in distributions()}
    print("# Tried together on Python 3.11; written by `make lock`.")
    print("\n".join(f"{name}=={version}" for name, version in sorted(found.items()) if name not in NOT_PINNED))
