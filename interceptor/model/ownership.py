"""Who else may change or read a file: those that are code, or hold secrets, must be ours alone."""

from __future__ import annotations

import os
import stat

_GROUP, _OTHERS = stat.S_IWGRP, stat.S_IWOTH


def writers(status: os.stat_result) -> str:
    """Say who besides its owner may write a file or folder; an empty text where nobody may.

    A group that has the owner's name, and no other members, is the owner's own. In a folder that
    is sticky others may write, but not replace what is there.
    """
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return ""
    if status.st_mode & _OTHERS:
        return "everybody"
    if status.st_mode & _GROUP and not _is_private(status.st_uid, status.st_gid):
        return "its group"
    return ""


def _is_private(uid: int, gid: int) -> bool:
    import grp
    import pwd

    if gid == 0:
        # Whoever is in the group of root may as well be root.
        return True
    try:
        owner, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return owner.pw_name == group.gr_name and not set(group.gr_mem) - {owner.pw_name}
