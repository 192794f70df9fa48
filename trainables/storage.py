"""Folders in a storage that all machines of a search reach: `s3://`, `gs://`, or `file://` for NFS and its like.

A storage has no rename, so a folder is sealed the other way round: its files first, and last the manifest that
`trainables.checkpoints` has written into it.  Without a manifest nothing is there; what is fetched is checked against it.
pyarrow has the file systems, and finds credentials where their owners keep them: environment, files, the machine's role.
"""

import contextlib
import errno
import re
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from trainables.checkpoints import MANIFEST, stays_inside, write_sealed
from trainables.disk import came_of
from trainables.plain_files import MAX_JSON_BYTES, parse_json
from trainables.secrecy import holds_credentials

T = TypeVar("T")
OPTIONS: dict[str, tuple[str, ...]] = {
    "s3": ("region", "scheme", "endpoint_override"),
    "gs": ("scheme", "endpoint_override"),
    "file": (),
}
"""Of an address, behind its `?`, as pyarrow.fs names them."""
_CONNECT_SECONDS, _REQUEST_SECONDS, _ATTEMPTS = 5.0, 15.0, 2
"""Of a request: pyarrow's own go on for 95 seconds with a server that is silent, and longer with Google's."""
_CHUNK = 2**22
_UNUSABLE = "the storage cannot be used"
_LONGEST_SAID = 300
_LONGEST_PAUSE = 15.0
_NAME = re.compile(r"[^./\\][^/\\]*")


class StorageError(OSError):
    """A storage cannot be reached, or refuses; what was to be done may be tried again later.

    Args:
        uri: of the place.
        said: by whoever refused, in a line.
        number: `errno`, where there is one.
    """

    def __init__(self, uri: str, said: str, number: int | None = None) -> None:
        super().__init__(number or errno.EIO, f"{_UNUSABLE}: {said[:_LONGEST_SAID]}", uri)

    def __str__(self) -> str:
        return f"{shown(self.filename)}: {self.strerror}"


class DamagedError(ValueError):
    """What lies in a storage is not what its manifest says.

    Attributes:
        problems: a sentence each.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def check_storage_uri(text: str) -> str:
    """A storage's address, without a slash at its end.

    Raises:
        ValueError: another kind of address, or one with credentials in it, for it is written down.
    """
    text = text.strip()
    if holds_credentials(text) or "@" in urlsplit(text).netloc:
        raise ValueError("credentials must not stand in it, for it is written down; set them in the environment instead")
    parts = urlsplit(text)
    if parts.scheme not in OPTIONS or parts.fragment:
        raise ValueError(f"s3://BUCKET/PATH, gs://BUCKET/PATH or file:///PATH must be given, but got {text!r}")
    if (parts.scheme == "file") == bool(parts.netloc) or not (parts.netloc or parts.path.strip("/")):
        what = "an absolute path: file:///PATH" if parts.scheme == "file" else f"a bucket: {parts.scheme}://BUCKET/PATH"
        raise ValueError(f"it must name {what}, but got {text!r}")
    options = parse_qsl(parts.query, keep_blank_values=True)
    if unknown := [name for name, value in options if name not in OPTIONS[parts.scheme] or not value]:
        known = ", ".join(OPTIONS[parts.scheme]) or "none"
        raise ValueError(f"its options are those that {parts.scheme}:// has, {known}, with a value, but got {unknown[0]!r}")
    if ".." in parts.path.split("/"):
        raise ValueError(f"`..` must not stand in it, but got {text!r}")
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=quote(path, safe="/%") if parts.scheme == "file" else path))


def below(uri: str, *names: str) -> str:
    """The address of what lies below another; options behind `?` stay behind."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path="/".join([parts.path.rstrip("/"), *names])))


def shown(uri: str, *names: str) -> str:
    """The address of what lies below another, for people: without options."""
    return below(uri, *names).partition("?")[0]


class Storage:
    """A place in a storage.  Its file system is opened when it is first needed.

    Args:
        uri: as `check_storage_uri` gives it.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def below(self, *names: str) -> "Storage":
        """A place below this one."""
        return Storage(below(self.uri, *names))

    def put(self, folder: Path, name: str, copied_from: str = "") -> None:
        """Stores a sealed folder under a name, in place of what is there.

        Args:
            folder: with its manifest.
            name: may hold slashes.
            copied_from: name of a folder that is stored: files that both hold are copied in the storage itself.

        Raises:
            StorageError: it could not be stored; then it is not there, or what is there is whole.
        """
        with _told(self.uri):
            there = self._manifest(copied_from) if copied_from else {}
            listed = parse_json((folder / MANIFEST).read_text(encoding="utf-8"))
            self._unseal(name)
            for file, item in listed.items():
                target = self._path(name, file)
                self._make_parent(target)
                if there.get(file) == item:
                    self._fs.copy_file(self._path(copied_from, file), target)
                else:
                    self._write(target, folder / file)
            self._write(self._path(name, MANIFEST), folder / MANIFEST)

    def get(self, name: str, parent: Path, as_name: str) -> Path:
        """Fetches a sealed folder to `parent / as_name`, whole or not at all.

        Raises:
            FileNotFoundError: no such folder, or it is not sealed.
            DamagedError: it is not what its manifest says, or that cannot be read or leads out of the folder.
            StorageError: the storage cannot be reached.
        """
        listed = self._read_manifest(name)
        if listed is None:
            raise FileNotFoundError(f"{shown(self.uri, name)}: not there")

        def fetch(folder: Path) -> None:
            for file, most in [*((file, item["size"] + 1) for file, item in listed.items()), (MANIFEST, MAX_JSON_BYTES)]:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                with (folder / file).open("wb") as stream:
                    self._read_into(self._path(name, file), stream, most)

        with _told(self.uri):
            try:
                got, problems = write_sealed(parent, as_name, fetch)
            except FileNotFoundError as error:
                raise DamagedError([f"{shown(self.uri, name)}: a file that its manifest names is not there"]) from error
        if got is None:
            raise DamagedError([problem.replace(str(parent / as_name), shown(self.uri, name)) for problem in problems])
        return got

    def sealed(self, name: str = "") -> list[str]:
        """Names of the sealed folders right below a name, sorted.

        Raises:
            StorageError: the storage cannot be reached.
        """
        with _told(self.uri):
            return sorted(inner for inner in self._names(name) if self._is_file(self._path(name, inner, MANIFEST)))

    def holds(self, name: str) -> bool:
        """Whether a folder lies below a name.

        Raises:
            StorageError: the storage cannot be reached.
        """
        with _told(self.uri):
            return any(True for _ in self._names(name))

    def problems_of(self, name: str) -> list[str]:
        """What is wrong with a folder, as far as names and sizes tell; nothing is fetched but its manifest.

        Raises:
            StorageError: the storage cannot be reached.
        """
        try:
            listed = self._read_manifest(name)
        except DamagedError as error:
            return error.problems
        if listed is None:
            return [f"{shown(self.uri, name)}: no {MANIFEST}"]
        with _told(self.uri):
            sizes = {file: self._fs.get_file_info(self._path(name, file)) for file in listed}
        wrong = [file for file, info in sizes.items() if not info.is_file or info.size != listed[file]["size"]]
        return [f"{shown(self.uri, name, file)}: it is missing, or has another size than the manifest says" for file in wrong]

    def remove(self, name: str) -> None:
        """Removes a folder, its manifest first; one that is not there is no mistake.

        Raises:
            StorageError: the storage cannot be reached.
        """
        with _told(self.uri):
            self._unseal(name)
            with contextlib.suppress(FileNotFoundError):
                self._fs.delete_dir(self._path(name))

    def write(self, name: str, content: bytes) -> None:
        """Stores a file.

        Raises:
            StorageError: it could not be stored.
        """
        with _told(self.uri):
            self._make_parent(self._path(name))
            with self._fs.open_output_stream(self._path(name)) as stream:
                stream.write(content)

    def read(self, name: str, max_bytes: int = MAX_JSON_BYTES) -> bytes | None:
        """The content of a file, no more than `max_bytes` of it; None where there is none.

        Raises:
            StorageError: the storage cannot be reached.
        """
        with _told(self.uri):
            try:
                with self._fs.open_input_stream(self._path(name)) as stream:
                    return bytes(stream.read(max_bytes))
            except FileNotFoundError:
                return None

    def delete(self, name: str) -> None:
        """Removes a file; one that is not there is no mistake.

        Raises:
            StorageError: the storage cannot be reached.
        """
        with _told(self.uri):
            self._delete(self._path(name))

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return _open(self.uri)

    @property
    def _fs(self) -> Any:
        return self._opened[0]

    def _path(self, *names: str) -> str:
        return "/".join([self._opened[1], *filter(None, names)])

    def _names(self, name: str) -> Iterator[str]:
        from pyarrow.fs import FileSelector, FileType

        for info in self._fs.get_file_info(FileSelector(self._path(name), allow_not_found=True)):
            if info.type == FileType.Directory and _NAME.fullmatch(info.base_name):
                yield info.base_name

    def _read_manifest(self, name: str) -> dict[str, Any] | None:
        """What a manifest lists, looked at before anything that it names is read; None where there is none."""
        where = shown(self.uri, name, MANIFEST)
        content = self.read(f"{name}/{MANIFEST}")
        if content is None:
            return None
        try:
            listed: dict[str, Any] = parse_json(content.decode("utf-8"))
            if not all(isinstance(item["size"], int) and item["size"] >= 0 for item in listed.values()):
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError):
            raise DamagedError([f"{where}: cannot be read"]) from None
        if strange := [file for file in listed if not stays_inside(file)]:
            raise DamagedError([f"{where}: {file!r} leads out of the folder" for file in strange])
        return listed

    def _manifest(self, name: str) -> dict[str, Any]:
        with contextlib.suppress(DamagedError):
            return self._read_manifest(name) or {}
        return {}

    def _unseal(self, name: str) -> None:
        self._delete(self._path(name, MANIFEST))

    def _delete(self, path: str) -> None:
        if self._is_file(path):
            self._fs.delete_file(path)

    def _is_file(self, path: str) -> bool:
        return bool(self._fs.get_file_info(path).is_file)

    def _make_parent(self, path: str) -> None:
        if self._fs.type_name == "local":  # elsewhere a folder is a part of a name
            self._fs.create_dir(path.rpartition("/")[0], recursive=True)

    def _write(self, path: str, file: Path) -> None:
        with file.open("rb") as source, self._fs.open_output_stream(path) as target:
            while chunk := source.read(_CHUNK):
                target.write(chunk)

    def _read_into(self, path: str, target: IO[bytes], max_bytes: int) -> None:
        with self._fs.open_input_stream(path) as source:
            while chunk := source.read(min(_CHUNK, max_bytes)):
                target.write(chunk)
                max_bytes -= len(chunk)


def _open(uri: str) -> tuple[Any, str]:
    """The file system of an address, which gives up after some seconds, and the path in it."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, FileSystem, S3FileSystem, resolve_s3_region

    parts = urlsplit(uri)
    opened: tuple[Any, str]
    if parts.scheme == "s3":
        options: dict[str, Any] = dict(parse_qsl(parts.query))
        if not options.keys() & {"region", "endpoint_override"}:
            options["region"] = resolve_s3_region(parts.netloc)
        retries = AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS)
        limits = {"connect_timeout": _CONNECT_SECONDS, "request_timeout": _REQUEST_SECONDS, "retry_strategy": retries}
        return S3FileSystem(**options, **limits), (parts.netloc + parts.path).rstrip("/")
    if parts.scheme == "gs":
        limit = f"retry_limit_seconds={_REQUEST_SECONDS:g}"
        uri = urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, limit]))))
    opened = FileSystem.from_uri(uri)
    return opened


def is_storage_gone(error: BaseException) -> bool:
    """Whether an error, or one that it came of or only quotes, says that a storage cannot be used."""
    return any(isinstance(inner, StorageError) or _UNUSABLE in str(inner) for inner in came_of(error))


def insisted(action: Callable[[], T], seconds: float, meanwhile: Callable[[float], object] = time.sleep) -> T:
    """Does something with a storage, again and again while it cannot be reached.

    Args:
        action: may be done twice.
        seconds: after the first failure in which it is tried again.
        meanwhile: called with the seconds to wait between two tries.

    Raises:
        StorageError: of the last try.
    """
    until, pause = time.monotonic() + seconds, 0.5
    while True:
        try:
            return action()
        except StorageError:
            if time.monotonic() + pause > until:
                raise
        meanwhile(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


@contextlib.contextmanager
def _told(uri: str) -> Iterator[None]:
    """Whatever a file system raises, with the storage's name, in one line."""
    try:
        yield
    except (FileNotFoundError, StorageError):
        raise
    except OSError as error:
        raise StorageError(uri, " ".join(str(error).split()), error.errno) from error
    except DamagedError:
        raise
    except ValueError as error:  # Arrow's own errors are such
        raise StorageError(uri, " ".join(str(error).split())) from error
