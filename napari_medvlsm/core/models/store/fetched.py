"""A folder of fetched files: its manifest, and the hashes of all that was ever fetched. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.models.store.registry import user_models_folder
from napari_medvlsm.core.models.store.sources import HubFile, Repository, find_source
from napari_medvlsm.core.plain_files import read_json
from napari_medvlsm.core.validation_errors import first_problem

MANIFEST_FILE = "medvlsm_source.json"
# Hashes of what was ever fetched or imported here, beside the models.
KNOWN_FILE = "fetched.json"
_CHUNK = 2**18
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Fetched:
    """The manifest of a folder of fetched files.

    Attributes
    ----------
    source : str
        Name in `sources.SOURCES`.
    asked, revisions : dict
        Repository to the revision asked for, and to the commit that this was.
    files : dict
        Path inside the folder to SHA-256.
    """

    source: str
    asked: dict[str, str]
    revisions: dict[str, str]
    files: dict[str, str]

    def listed(self, repository: Repository, file: HubFile) -> str | None:
        """Path inside the folder of a file, or of what was taken instead; None if there is neither."""
        names = [f"{repository.folder}/{name}" for name in (file.name, file.instead) if name]
        return next((name for name in names if name in self.files), None)

    def weights(self, repository: Repository) -> str:
        """Path inside the folder of the weights of a repository."""
        found = (self.listed(repository, file) for file in repository.files if file.name.endswith(_WEIGHTS))
        return next(name for name in found if name is not None)


_FETCHED = TypeAdapter(Fetched)


def write_fetched(fetched: Fetched, folder: Path) -> None:
    """Write the manifest of a folder of fetched files."""
    with replacing(folder / MANIFEST_FILE) as temporary:
        temporary.write_text(json.dumps(asdict(fetched), indent=1) + "\n", "utf-8")


def read_manifest(folder: Path) -> Fetched:
    """Read the manifest of a folder of fetched files, without looking at these.

    Raises
    ------
    ValueError
        If it cannot be read, or names no source that is known; one sentence.
    """
    path = folder / MANIFEST_FILE
    try:
        fetched = _FETCHED.validate_python(read_json(path))
        for repository in find_source(fetched.source).repositories:
            if repository.name not in fetched.asked or repository.name not in fetched.revisions:
                raise ValueError(f"it does not say which revision of {repository.name} it is")
    except ValidationError as error:
        raise ValueError(f"{path} cannot be read ({first_problem(error)}); fetch the weights again.") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); fetch the weights again.") from error
    return fetched


def read_fetched(folder: Path, accept_change: bool = False) -> Fetched:
    """Read the manifest of a folder of fetched files, and check that they came over whole, and nothing beside them.

    Parameters
    ----------
    folder : Path
    accept_change : bool
        Whether other content than was fetched before is accepted, and later content held to it.

    Raises
    ------
    ValueError
        If a file is missing or not as it was fetched, not the known content of the pinned revision, not what was
        fetched under this name before, or not in the manifest.
    """
    fetched = read_manifest(folder)
    repositories = {repository.folder: repository for repository in find_source(fetched.source).repositories}
    expected = [(name.partition("/"), digest) for name, digest in fetched.files.items()]
    for repository in repositories.values():
        _check_complete(fetched, repository, folder)
    known = KnownHashes()
    for repository in repositories.values() if accept_change else ():
        known.drop(repository)
    for (inside, _, name), digest in expected:
        path = folder / inside / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{folder / MANIFEST_FILE} names the file {path}, which is outside of its folder.")
        if not path.is_file() or sha256_of(path) != digest:
            raise ValueError(f"{path} is missing or not as it was fetched; copy the whole folder again.")
        if inside in repositories:
            known.hold(repositories[inside], fetched.asked[repositories[inside].name], name, digest)
    return fetched


def _check_complete(fetched: Fetched, repository: Repository, folder: Path) -> None:
    """That the manifest has all files of a repository, by their known hashes, and that nothing else lies there."""
    asked, revision = fetched.asked[repository.name], fetched.revisions[repository.name]
    for file in repository.files:
        name = fetched.listed(repository, file)
        if name is None and not file.optional:
            raise ValueError(
                f"{folder / MANIFEST_FILE} does not list {file.name} of {repository.name}; fetch the weights again."
            )
        pinned = repository.revision in (asked, revision) and name == f"{repository.folder}/{file.name}"
        if pinned and file.sha256 is not None and fetched.files[str(name)] != file.sha256:
            raise ValueError(
                f"{file.name} of {repository.name} in {folder} has another content than is known of this revision "
                f"(SHA-256 {fetched.files[str(name)][:12]}..., not {file.sha256[:12]}...); do not use it."
            )
    listed = {PurePosixPath(name) for name in fetched.files}
    for path in sorted((folder / repository.folder).rglob("*")):
        inside = path.relative_to(folder)
        # Systems leave hidden files of their own, and a fetch that broke off its parts; neither is ever read.
        ours = not path.name.startswith(".") and path.suffix != ".part"
        if ours and (path.is_file() or path.is_symlink()) and PurePosixPath(inside.as_posix()) not in listed:
            raise ValueError(
                f"{path} was not fetched with the others, so that nothing tells where it comes from; delete it, or "
                "fetch the weights again into another folder."
            )


def forget(repository: Repository) -> None:
    """Accept that the content of a repository changed: what is fetched next is what later ones are held to."""
    KnownHashes().drop(repository)


class KnownHashes:
    """Hashes of what was fetched before, by repository, pinned revision and file."""

    def __init__(self) -> None:
        self.path = user_models_folder() / KNOWN_FILE
        try:
            found = read_json(self.path) if self.path.exists() else {}
            if not isinstance(found, dict) or not all(isinstance(files, dict) for files in found.values()):
                raise ValueError("it holds no hashes of files")
            self._hashes: dict[str, dict[str, str]] = found
        except ValueError as error:
            raise ValueError(f"{self.path} cannot be read ({error}); delete it to start anew.") from error

    def check(self, repository: Repository, asked: str, name: str, digest: str) -> None:
        """Refuse what differs from what was fetched before."""
        before = self._hashes.get(self._key(repository, asked), {}).get(name, digest)
        if before != digest:
            raise ValueError(
                f"{name} of {repository.name} is not what was fetched before (SHA-256 {digest[:12]}..., then "
                f"{before[:12]}...); if you trust the change, say so with --accept-change "
                "(`medvlsm models fetch` or `import`)."
            )

    def hold(self, repository: Repository, asked: str, name: str, digest: str) -> None:
        """The same, and keep what is the first."""
        self.check(repository, asked, name, digest)
        self._hashes.setdefault(self._key(repository, asked), {})[name] = digest
        self._write()

    def drop(self, repository: Repository) -> None:
        """Forget a repository at all its revisions."""
        mark = self._key(repository, "")
        self._hashes = {key: value for key, value in self._hashes.items() if not key.startswith(mark)}
        self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self._hashes, indent=1, sort_keys=True) + "\n", "utf-8")

    @staticmethod
    def _key(repository: Repository, asked: str) -> str:
        return f"{repository.name}@{asked}"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_hash_of(path: Path) -> str:
    """The hash that git gives a file, which the hub announces for small ones."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
