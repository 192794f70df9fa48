"""Folders of files that are whole or not there: written aside, synced, sealed by a manifest of sums, renamed.

Whatever kills the writer, and at whatever point, the folders that were there before stay good.  No torch: drivers use this too.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path, PurePath

from trainables.plain_files import read_json

MANIFEST = "manifest.json"
_ASIDE, _REPLACED = ".aside-", ".replaced-"


def write_checkpoint(
    parent: Path,
    name: str,
    write: Callable[[Path], None],
    *,
    sync: bool = True,
    check: Callable[[], object] = lambda: None,
) -> Path:
    """Makes the folder `parent/name`, filled by `write(folder)`; replaces one of that name.

    Files go to a hidden folder beside it and are synced; `manifest.json` with the size and sha256 of each comes last; then the
    folder is renamed.  What an earlier, killed writer left in `parent` is cleared up first (see `remove_leftovers`), but a writer
    that fails clears up after itself alone: another one may be at work by then.

    Args:
        parent: folder of checkpoints; made if need be.
        name: of the new one.
        write: fills the folder that it is given.
        sync: wait for the disk.  Without, a killed process still loses nothing, but a machine that fails may leave the new one
            damaged, which `verify` finds: keep the one before until `sync_checkpoint` has returned.
        check: called just before the folder gets its name; what it raises keeps the name from it.

    Raises:
        OSError: such as a full disk; nothing but a hidden folder, removed here if that is possible, has changed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent)
    aside, final = parent / f"{_ASIDE}{name}-{secrets.token_hex(4)}", parent / name
    aside.mkdir()
    try:
        write(aside)
        seal(aside)
        if sync:
            sync_checkpoint(aside)
        check()
        _swap(aside, final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    if sync:
        sync_path(parent)
    return final


def seal(folder: Path) -> None:
    """Writes `manifest.json` with the size and sha256 of each file: from then on `verify` finds what has changed."""
    manifest = {str(file.relative_to(folder)): _describe(file) for file in _files(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def write_sealed(parent: Path, name: str, write: Callable[[Path], None]) -> tuple[Path | None, list[str]]:
    """Makes the folder `parent/name`, filled by `write(folder)` with what is sealed already; none where that is not whole.

    Returns:
        The folder, or None; and what `verify` found wrong.

    Raises:
        OSError: as `write_checkpoint`; or what `write` raised, and then nothing has changed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent)
    aside, final = parent / f"{_ASIDE}{name}", parent / name
    aside.mkdir()
    try:
        write(aside)
        if problems := verify(aside):
            return None, [problem.replace(str(aside), str(final)) for problem in problems]
        sync_checkpoint(aside)
        _swap(aside, final)
    finally:
        remove_leftovers(parent)
    sync_path(parent)
    return final, []


def sync_checkpoint(folder: Path) -> None:
    """Waits until all of a checkpoint, and its name, is on the disk.

    Raises:
        OSError: the disk could not write it.
    """
    for path in [*_files(folder), *_folders(folder), folder.parent]:
        sync_path(path)


def verify(folder: Path) -> list[str]:
    """What is wrong with a checkpoint, a sentence each: missing, cut, changed or unlisted files, links.  Empty: it is good.

    A link is refused wherever it leads, and so is a name that leads out of the folder: both would have other files read.
    """
    if links := [path for path in [folder, *sorted(folder.rglob("*"))] if path.is_symlink()]:
        return [f"{link}: a link; a checkpoint holds files of its own alone" for link in links]
    try:
        manifest = read_json(folder / MANIFEST)
        listed = {name: (item["size"], item["sha256"]) for name, item in manifest.items()}
    except FileNotFoundError:
        return [f"{folder}: no {MANIFEST}"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return [f"{folder / MANIFEST}: cannot be read"]
    there = {str(file.relative_to(folder)) for file in _files(folder)} - {MANIFEST}
    strange = [name for name in listed if not stays_inside(name)]
    problems = [f"{folder / MANIFEST}: {name!r} leads out of the folder" for name in strange]
    problems += [f"{folder / name}: not in the manifest" for name in sorted(there - set(listed))]
    for name, (size, sha256) in listed.items():
        if name in strange:
            continue
        problems += _problems_of(folder / name, size, sha256)
    return problems


def newest_good(parent: Path, report: Callable[[list[str]], object] | None = None) -> Path | None:
    """The checkpoint with the highest number at the end of its name that `verify` finds nothing wrong with, or None.

    Args:
        parent: folder of checkpoints; need not exist.
        report: called with the problems of each damaged one that is passed over.
    """
    for folder in reversed(checkpoints(parent)):
        problems = verify(folder)
        if not problems:
            return folder
        if report is not None:
            report(problems)
    return None


def checkpoints(parent: Path) -> list[Path]:
    """The checkpoints in a folder by number, good or damaged; hidden and unnumbered folders are none."""
    if not parent.is_dir():
        return []
    folders = [folder for folder in parent.iterdir() if folder.is_dir() and re.fullmatch(r"[^.].*?\d+|\d+", folder.name)]
    return sorted(folders, key=number_of)


def number_of(folder: Path) -> int:
    """The number at the end of a checkpoint's name: 12 of `report-0012`."""
    found = re.search(r"\d+$", folder.name)
    assert found is not None, f"{folder.name}: a checkpoint's name ends in a number"
    return int(found.group())


def keep_newest(parent: Path, n: int) -> None:
    """Removes all checkpoints but the `n` of the highest numbers."""
    for folder in checkpoints(parent)[: -n or None]:
        _discard(folder)


def remove_leftovers(parent: Path) -> None:
    """Removes hidden folders that a killed writer left behind.

    One that was being replaced gets its name back, if the writer was killed before the new one had it.
    """
    for folder in parent.glob(f"{_ASIDE}*"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in parent.glob(f"{_REPLACED}*"):
        final = parent / folder.name.removeprefix(_REPLACED)
        if final.exists():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder.rename(final)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that will not change, or a copy where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _swap(aside: Path, final: Path) -> None:
    """Renames, putting away an older folder of the same name first (a folder that is not empty cannot be renamed over).

    The older one is removed once the new one has its name, so that one of them is there whenever this is cut short.
    """
    replaced = final.with_name(f"{_REPLACED}{final.name}")
    if final.exists():
        final.rename(replaced)
    try:
        aside.rename(final)
    except OSError:
        if replaced.exists() and not final.exists():
            replaced.rename(final)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _discard(folder: Path) -> None:
    """Removes a folder by renaming it first: a killed removal leaves a hidden folder and no half checkpoint."""
    hidden = folder.with_name(f"{_ASIDE}old-{folder.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def stays_inside(name: str) -> bool:
    """Whether a name in a manifest is that of a file below the manifest's folder."""
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts and "\x00" not in name


def _problems_of(file: Path, size: int, sha256: str) -> list[str]:
    if not file.is_file():
        return [f"{file}: missing"]
    if file.stat().st_size != size:
        return [f"{file}: {file.stat().st_size} bytes, but the manifest says {size}"]
    try:
        found = _describe(file)["sha256"]
    except OSError as error:
        return [f"{file}: {error.strerror}"]
    return [] if found == sha256 else [f"{file}: its content is not what the manifest says"]


def _describe(file: Path) -> dict[str, int | str]:
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"size": file.stat().st_size, "sha256": sha256}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _folders(folder: Path) -> list[Path]:
    return [*(path for path in folder.rglob("*") if path.is_dir()), folder]


def sync_path(path: Path) -> None:
    """Waits until a file's content, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
