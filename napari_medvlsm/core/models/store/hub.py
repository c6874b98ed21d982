"""Public weights from the hub into a folder of plain files, which `importing` makes a model of.

`plan` asks the hub what would be fetched; `fetch` fetches it: resumed where it broke off, cancellable, each file
checked against the hash that the hub or the table in `sources` names. Every hash is kept; content that changes under
the same name later is refused. Finding the hub, its token, proxies and offline mode are those of `huggingface_hub`
(`HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HTTPS_PROXY`); its own downloads are not used, since they
start from zero after a cancelled one. Imports no torch.
"""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from napari_medvlsm.core.io.atomic import free_space, require_space
from napari_medvlsm.core.models.store.fetched import Fetched, KnownHashes, git_hash_of, sha256_of, write_fetched
from napari_medvlsm.core.models.store.sources import HubFile, Repository, Source

# Seconds without an answer before the hub counts as out of reach.
TIMEOUT = 8.0
# Attempts in a row that bring nothing, and seconds between them.
_ATTEMPTS, _PAUSE = 4, 0.5
_CHUNK = 2**18

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PlannedFile:
    """One file to fetch.

    Attributes
    ----------
    repository : Repository
    asked : str
        The revision asked for; "" for the default branch, whose content may change.
    revision : str
        The commit.
    name : str
    size : int
    sha256, git_hash : str, optional
        What the hub, or the table, says of its content; small files have a git hash only.
    cached : Path, optional
        Where the hub's own cache has it already.
    """

    repository: Repository
    asked: str
    revision: str
    name: str
    size: int
    sha256: str | None = None
    git_hash: str | None = None
    cached: Path | None = None


@dataclass(frozen=True)
class Plan:
    """What would be fetched.

    Attributes
    ----------
    source : Source
    folder : Path
        Where to.
    files : tuple of PlannedFile
    free : int
        Bytes free there.
    endpoint : str
    """

    source: Source
    folder: Path
    files: tuple[PlannedFile, ...]
    free: int
    endpoint: str

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def left(self) -> int:
        """Bytes that are not there yet."""
        return sum(file.size - _there(self.place(file), file) for file in self.files)

    def place(self, file: PlannedFile) -> Path:
        """Where a file comes to lie."""
        return self.folder / file.repository.folder / file.name


def plan(source: Source, folder: Path, endpoint: str | None = None, revision: str | None = None) -> Plan:
    """List the files of a source on the hub; offline, those in the hub's cache if all are there.

    Parameters
    ----------
    source : Source
    folder : Path
        Where the files are to lie.
    endpoint : str, optional
        By default what `HF_ENDPOINT` says.
    revision : str, optional
        A branch or commit to take instead of the pinned ones.

    Raises
    ------
    ValueError
        If the hub cannot be reached, refuses, or lacks a file; one sentence.
    """
    from huggingface_hub import constants

    endpoint = endpoint or constants.ENDPOINT
    files: list[PlannedFile] = []
    for repository in source.repositories:
        wanted = revision or repository.revision or ""
        cached = _in_cache(repository, wanted)
        if cached is None:
            with _sentences(source, repository, wanted, endpoint):
                files += _listed(repository, wanted, endpoint)
        else:
            files += cached
    return Plan(source, folder, tuple(files), free_space(folder), endpoint)


def fetch(plan: Plan, progress: Progress | None = None, check: Callable[[], None] | None = None) -> Path:
    """Fetch what is planned, as far as it is not there yet.

    Parameters
    ----------
    plan : Plan
    progress : callable, optional
        Called with the bytes that are there and those of all files.
    check : callable, optional
        Called between pieces; whatever it raises ends the fetching, and the next call goes on from there.

    Returns
    -------
    Path
        The folder, with a manifest.

    Raises
    ------
    ValueError
        If the disk is too small, the hub cannot be reached or refuses, content is not what it should be, or
        another process fetches into the same folder.
    """
    require_space(plan.folder, plan.left)
    plan.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(plan.folder / ".lock", timeout=0):
            write_fetched(_fetch(plan, progress, check), plan.folder)
    except Timeout as error:
        raise ValueError(f"Another process is fetching into {plan.folder}; wait for it.") from error
    return plan.folder


def _fetch(plan: Plan, progress: Progress | None, check: Callable[[], None] | None) -> Fetched:
    known = KnownHashes()
    for file in plan.files:
        if file.sha256:
            known.check(file.repository, file.asked, file.name, file.sha256)
    hashes: dict[str, str] = {}
    before = 0
    for file in plan.files:
        place = plan.place(file)
        place.parent.mkdir(parents=True, exist_ok=True)

        def report(done: int, before: int = before) -> None:
            if check is not None:
                check()
            if progress is not None:
                progress(before + done, plan.total)

        with _sentences(plan.source, file.repository, file.revision, plan.endpoint):
            hashes[place.relative_to(plan.folder).as_posix()] = _bring(file, place, plan.endpoint, report, known)
        before += file.size
    return Fetched(
        plan.source.name,
        {file.repository.name: file.asked for file in plan.files},
        {file.repository.name: file.revision for file in plan.files},
        hashes,
    )


def _listed(repository: Repository, asked: str, endpoint: str) -> Iterator[PlannedFile]:
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    try:
        info = HfApi(endpoint=endpoint).model_info(
            repository.name, revision=asked or None, files_metadata=True, timeout=TIMEOUT
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"What answers at {endpoint} is not the hub; a proxy or a login page may stand before it."
        ) from error
    there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    for file in repository.files:
        name = file.name if file.name in there else file.instead
        if name not in there:
            if file.optional:
                continue
            raise ValueError(
                f"{repository.name} has no file {file.name} at {asked or 'its default branch'}; another revision may "
                "have it (--revision)."
            )
        commit = info.sha or asked or "main"
        size, sha256, git_hash = there[name].size, None, there[name].blob_id
        if large := there[name].lfs:
            size, sha256, git_hash = large.size, large.sha256, None
        if size is None:  # some mirrors list names only
            url = hf_hub_url(repository.name, name, revision=commit, endpoint=endpoint)
            found = get_hf_file_metadata(url, timeout=TIMEOUT)
            size, etag = found.size or file.size, found.etag or ""
            sha256, git_hash = (etag if len(etag) == 64 else None), (etag if len(etag) == 40 else None)
        yield PlannedFile(repository, asked, commit, name, size, _same(file, name, sha256, repository, asked), git_hash)


def _same(file: HubFile, name: str, sha256: str | None, repository: Repository, asked: str) -> str | None:
    """The hash to hold a file to; the hub's own must be that of the table at the pinned revision."""
    pinned = file.sha256 if name == file.name and asked == repository.revision else None
    if pinned is not None and sha256 is not None and pinned != sha256:
        raise ValueError(
            f"The hub announces another content of {name} of {repository.name} than is known (SHA-256 "
            f"{sha256[:12]}..., not {pinned[:12]}...); do not use it."
        )
    return pinned or sha256


def _in_cache(repository: Repository, asked: str) -> list[PlannedFile] | None:
    """The files in the hub's own cache, if all are there; a branch is only looked up there when the hub may not be."""
    from huggingface_hub import is_offline_mode, try_to_load_from_cache

    if asked != repository.revision and not is_offline_mode():
        return None
    found: list[PlannedFile] = []
    for file in repository.files:
        for name in filter(None, (file.name, file.instead)):
            path = try_to_load_from_cache(repository.name, name, revision=asked or None)
            if isinstance(path, str):
                cached = Path(path)
                sha256 = _same(file, name, None, repository, asked)
                # The folder of a cached file is called like its commit.
                commit, size = cached.parent.name, cached.stat().st_size
                found.append(PlannedFile(repository, asked, commit, name, size, sha256, cached=cached))
                break
        else:
            if not file.optional:
                return None
    return found


def _bring(file: PlannedFile, place: Path, endpoint: str, report: Callable[[int], None], known: KnownHashes) -> str:
    """Put one file in its place and return its SHA-256."""
    part = _part(place, file)
    if not place.is_file():
        if file.cached is not None:
            _copy(file.cached, part, report)
        else:
            _download(file, part, endpoint, report)
    found = place if place.is_file() else part
    digest = sha256_of(found)
    if digest != (file.sha256 or digest) or (file.git_hash and git_hash_of(found) != file.git_hash):
        found.unlink()
        raise ValueError(
            f"{file.name} of {file.repository.name} did not arrive as the hub announced it (its checksum differs); "
            "fetch it again."
        )
    known.hold(file.repository, file.asked, file.name, digest)
    if found == part:
        part.replace(place)
    report(file.size)
    return digest


def _download(file: PlannedFile, part: Path, endpoint: str, report: Callable[[int], None]) -> None:
    """Fetch into `part`, going on where it ends, through broken connections as long as each brings something."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    failures = 0
    while (there := _size(part)) < file.size:
        broken: Exception = ValueError(f"{file.name} of {file.repository.name} ends too early; fetch it again.")
        try:
            _stream(file, part, there, endpoint, report)
        except HfHubHTTPError:
            raise
        except HTTPError as error:
            broken = error
        failures = 0 if _size(part) > there else failures + 1
        if failures >= _ATTEMPTS:
            raise broken
        report(_size(part))
        if _size(part) < file.size:
            time.sleep(_PAUSE)


def _stream(file: PlannedFile, part: Path, there: int, endpoint: str, report: Callable[[int], None]) -> None:
    from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(file.repository.name, file.name, revision=file.revision, endpoint=endpoint)
    headers = build_hf_headers(library_name="napari-medvlsm") | {"Accept-Encoding": "identity"}
    if there:
        headers["Range"] = f"bytes={there}-"
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
        hf_raise_for_status(response)
        # A server that does not know ranges sends everything again.
        with part.open("ab" if response.status_code == 206 else "wb") as out:
            for chunk in response.iter_bytes(_CHUNK):
                out.write(chunk)
                report(out.tell())


def _copy(cached: Path, part: Path, report: Callable[[int], None]) -> None:
    with cached.open("rb") as file, part.open("wb") as out:
        while chunk := file.read(_CHUNK):
            out.write(chunk)
            report(out.tell())


@contextmanager
def _sentences(source: Source, repository: Repository, revision: str, endpoint: str) -> Iterator[None]:
    """Turn whatever the hub or the network does into one sentence."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    elsewhere = (
        f"on a machine that reaches it run `medvlsm models fetch {source.name} --to FOLDER`, copy the folder here "
        "and run `medvlsm models import FOLDER`"
    )
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        at = f" at revision {revision}" if revision else ""
        if status in (401, 403):
            reason = (
                f"refuses {repository.name} ({status}); it may ask for a login (`hf auth login`, or the variable "
                f"HF_TOKEN) or for its terms to be accepted at {endpoint}/{repository.name}"
            )
        elif status == 404:
            reason = (
                f"has no {repository.name}{at} (404), or not the file asked for; another revision may be (--revision)"
            )
        else:
            reason = f"does not give {repository.name} now ({status}); try again later"
        raise ValueError(f"The hub {reason}.") from error
    except OfflineModeIsEnabled as error:
        raise ValueError(
            f"{repository.name} is not in the cache, and HF_HUB_OFFLINE forbids to ask the hub: unset it, or "
            f"{elsewhere}."
        ) from error
    except HTTPError as error:
        raise ValueError(
            f"The hub cannot be reached at {endpoint} ({error}): check the network and its proxy, or {elsewhere}."
        ) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ValueError(
            "The disk is full; what was fetched so far is kept: make room and fetch again, or use --to another disk."
        ) from error


def _part(place: Path, file: PlannedFile) -> Path:
    """Where a file grows; another content of the same name does not go on from it."""
    content = file.sha256 or file.git_hash or file.revision
    return place.with_name(f"{place.name}.{content[:12]}.part")


def _there(place: Path, file: PlannedFile) -> int:
    found = place if place.is_file() else _part(place, file)
    return min(_size(found), file.size)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
