"""Who a server runs as that refuses to be root: another account, or root under another name in a user namespace."""

import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

from schemas.errors import StackError
from stack.embedded.process import GUARD, Identity

ACCOUNTS = ("postgres", "nobody")
PROBE_S_MAX = 20.0


def identity_for(server: str, *paths: Path, variable: str) -> Identity:
    """The present user, unless that is root: then an account that can enter all `paths`, else a user namespace.

    Raises StackError when neither will do; `variable` is the setting that names a server elsewhere."""
    if os.geteuid() != 0:
        return Identity()
    account = _account()
    closed = [folder for path in paths for folder in path.parents if not _may_enter(folder)]
    if account is not None and not closed:
        return Identity(account.pw_uid, account.pw_gid)
    if _has_user_namespaces():
        return Identity(namespace=True)
    where = f"{closed[0]} is closed to others" if closed else "there is no account postgres or nobody"
    raise StackError(
        f"starting {server}: it refuses to run as root, and {where}; run this as an ordinary user, open that folder"
        f" (chmod o+x), choose another data folder, or set {variable}"
    )


def hand_over(path: Path, identity: Identity) -> None:
    """Give a file, or a folder with all in it, to the account that the server runs as; only root can and has to."""
    if os.geteuid() != 0:
        return
    user, group = (0, 0) if identity.user is None or identity.group is None else (identity.user, identity.group)
    paths = [path]
    if path.is_dir():
        paths += [Path(folder) / name for folder, folders, files in os.walk(path) for name in (*folders, *files)]
    for one in paths:
        if one.lstat().st_uid != user:
            os.chown(one, user, group, follow_symlinks=False)


def _account() -> pwd.struct_passwd | None:
    for name in ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _may_enter(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


def _has_user_namespaces() -> bool:
    if sys.platform != "linux":
        return False
    probe = subprocess.run(
        [sys.executable, "-I", "-S", str(GUARD), "probe"], capture_output=True, timeout=PROBE_S_MAX, check=False
    )
    return probe.returncode == 0
