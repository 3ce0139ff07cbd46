"""Find what lets other users replace a file: a part of its path that they own or can write to."""

import os
import stat
from pathlib import Path


def first_open_to_others(path: Path, uid: int) -> Path | None:
    """Return the first existing part of a path that users other than root and `uid` own or can write to.

    Symbolic links are parts, too. The groups of this process are trusted. A directory with the sticky bit,
    such as /tmp, may be open to all, unless it is the last part.
    """
    groups = {0, os.getegid(), *os.getgroups()}
    # Not `resolve`, which raises RuntimeError for links in a circle.
    for whole in (path.absolute(), Path(os.path.realpath(path))):
        for part in filter(os.path.lexists, [*reversed(whole.parents), whole]):
            found = part.lstat()
            if found.st_uid not in {0, uid}:
                return part
            others = stat.S_IWOTH if found.st_gid in groups else stat.S_IWOTH | stat.S_IWGRP
            # In a directory with the sticky bit, such as /tmp, only the owner of a file can replace it.
            kept = part != whole and found.st_mode & stat.S_ISVTX
            if found.st_mode & others and not kept and not stat.S_ISLNK(found.st_mode):
                return part
    return None
