"""A folder of fetched files: its manifest, and the hashes of all that was ever fetched. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.models.registry import user_models_folder
from napari_medvlsm.core.models.sources import Repository, find_source

MANIFEST_FILE = "medvlsm_source.json"
# Hashes of what was ever fetched or imported here, beside the models.
KNOWN_FILE = "fetched.json"
_CHUNK = 2**18


@dataclass(frozen=True)
class Fetched:
    """What lies in a folder of fetched files.

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


def write_fetched(fetched: Fetched, folder: Path) -> None:
    """Write the manifest of a folder of fetched files."""
    with replacing(folder / MANIFEST_FILE) as temporary:
        temporary.write_text(json.dumps(asdict(fetched), indent=1) + "\n", "utf-8")


def read_fetched(folder: Path, accept_change: bool = False) -> Fetched:
    """Read the manifest of a folder of fetched files, and check that they came over whole.

    Parameters
    ----------
    folder : Path
    accept_change : bool
        Whether other content than was fetched before is accepted, and later content held to it.

    Raises
    ------
    ValueError
        If a file is missing or not as it was fetched, or not what was fetched under this name before.
    """
    try:
        fetched = Fetched(**json.loads((folder / MANIFEST_FILE).read_text("utf-8")))
        repositories = {repository.folder: repository for repository in find_source(fetched.source).repositories}
        asked = {repository.name: str(fetched.asked[repository.name]) for repository in repositories.values()}
        expected = [(name.partition("/"), digest) for name, digest in fetched.files.items()]
    except (OSError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder / MANIFEST_FILE} cannot be read ({error}); fetch the weights again.") from error
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
            known.hold(repositories[inside], asked[repositories[inside].name], name, digest)
    return fetched


def forget(repository: Repository) -> None:
    """Accept that the content of a repository changed: what is fetched next is what later ones are held to."""
    KnownHashes().drop(repository)


class KnownHashes:
    """Hashes of what was fetched before, by repository, pinned revision and file."""

    def __init__(self) -> None:
        self.path = user_models_folder() / KNOWN_FILE
        try:
            self._hashes: dict[str, dict[str, str]] = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            self._hashes = {}
        except ValueError as error:
            raise ValueError(f"{self.path} cannot be read ({error}); delete it to start anew.") from error

    def check(self, repository: Repository, asked: str, name: str, digest: str) -> None:
        """Refuse what differs from what was fetched before."""
        before = self._hashes.get(self._key(repository, asked), {}).get(name, digest)
        if before != digest:
            raise ValueError(
                f"{name} of {repository.name} is not what was fetched before (SHA-256 {digest[:12]}..., then "
                f"{before[:12]}...); if you trust the change, say so with --accept-change."
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
