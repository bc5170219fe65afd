"""What version answers."""

from importlib.metadata import PackageNotFoundError, version


def _version() -> str:
    try:
        return version("liqcascade")
    except PackageNotFoundError:  # run from a folder without being installed
        return "unknown"


VERSION = _version()
