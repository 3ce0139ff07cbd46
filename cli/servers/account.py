"""The user that the servers run as: Postgres refuses root."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from cli.servers.errors import ServerError


@dataclass(frozen=True)
class Account:
    """Name a user and group by their ids."""

    uid: int
    gid: int

    def can_reach(self, path: Path) -> bool:
        """Tell whether this user may walk down to an absolute path (groups left aside)."""
        return all(_passes(part.stat(), self.uid) for part in [path, *path.parents])

    def own_directory(self, path: Path) -> Path:
        """Make a directory for this user alone; refuse one that is somebody else's or open to others."""
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != self.uid or found.st_mode & 0o077:
                raise ServerError(f"{path} must be a directory of user {self.uid} with mode 0700") from None
        else:
            os.chown(path, self.uid, self.gid)
        return path


def _passes(found: os.stat_result, uid: int) -> bool:
    return bool(found.st_mode & (stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH)) or uid == 0


def account_for(directory: Path) -> Account:
    """Choose ourselves, or for root the owner of the directory, or `nobody` where that is root."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    nearest = next(path for path in [directory, *directory.parents] if path.exists()).stat()
    if nearest.st_uid != 0:
        return Account(nearest.st_uid, nearest.st_gid)
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)
