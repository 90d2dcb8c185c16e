"""Allowed imports: cli -> transhash <- backends and servers; heavy libraries only where they are needed."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(parsed(path)))


@cache
def imported(path: Path, at_start: bool = False) -> set[str]:
    """The libraries that a module imports; with `at_start`, only those imported at the top level."""
    names = set()
    for node in parsed(path).body if at_start else nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def within(path: Path) -> set[str]:
    """The full names of the modules of `transhash` that a module imports at runtime."""
    names = set()
    unused = {inner for node in nodes(path) if is_for_types(node) for part in node.body for inner in ast.walk(part)}
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node not in unused:
            above = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base for alias in node.names}
    return {name for name in names if name == "transhash" or name.startswith("transhash.")}


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


@cache
def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        (
            "transhash",
            {"click", "faiss", "faiss_backend", "lance_backend", "milvus_backend", "postgres_backend"}
            | {"lancedb", "psycopg", "pymilvus", "transhash_cli", "cli"},
        ),
        ("faiss_backend", {"click", "torch", "timm", "h5py", "transhash_cli", "cli"}),
        ("milvus_backend", {"click", "faiss", "faiss_backend", "h5py", "timm", "torch", "transhash_cli", "cli"}),
        ("lance_backend", {"click", "faiss", "faiss_backend", "h5py", "timm", "torch", "transhash_cli", "cli"}),
        ("postgres_backend", {"click", "faiss", "faiss_backend", "h5py", "timm", "torch", "transhash_cli", "cli"}),
        (
            "cli",
            {"faiss", "faiss_backend", "h5py", "milvus_backend", "postgres_backend", "psycopg", "pymilvus", "timm"},
        ),
    ],
)
def test_imports_follow_the_layers(package, forbidden):
    assert sources(package)
    for path in sources(package):
        assert not imported(path) & forbidden, path


LEAVES = {
    "errors",
    "hamming",
    "multi_index",
    "packing",
    "results",
    "system",
}  # any other package may import these
ROOMS = {  # the packages and modules of `transhash`, and which others each may import besides the leaves
    "backends": set(),
    "codes": set(),
    "datasets": {"sources"},
    "demo": {"codes", "datasets", "encoding", "evaluation", "index", "report", "sources"},
    "duplicates": {"codes", "hashers", "index", "native", "report", "sources"},
    "encoding": {"codes", "hashers", "sources"},
    "evaluation": {"codes"},
    "gpu": {"backends"},
    "hashers": {"codes"},
    "index": {"backends", "codes", "encoding", "hashers", "report", "sources"},
    "models": set(),
    "native": set(),
    "report": {"codes", "evaluation", "sources"},
    "serving": {"codes", "duplicates", "hashers", "index", "sources"},
    "sources": {"codes"},
    "testing": {"backends", "codes", "index"},
    "training": {"encoding", "evaluation", "hashers", "sources"},
}
PUBLIC = {
    "hashers": {"", "base", "rarity"},
    "training": {"", "run"},
}  # the modules of a package that others may import


def rooms() -> set[str]:
    """The packages and modules directly in `transhash`."""
    entries = [path for path in (ROOT / "transhash").iterdir() if path.suffix == ".py" or list(path.glob("*.py"))]
    return {path.stem for path in entries} - {"__init__", "__main__"}


def room_of(module: str) -> str:
    """The package or module of `transhash` that a module belongs to; empty for the root."""
    return f"{module}.".split(".")[1]


def test_every_package_has_its_place():
    assert rooms() == ROOMS.keys() | LEAVES


@pytest.mark.parametrize("room", sorted(ROOMS.keys() | LEAVES))
def test_a_package_imports_only_what_lies_below_it(room):
    allowed = {room} | LEAVES | ROOMS.get(room, {"native"} if room in ("hamming", "multi_index") else set())
    files = sources(f"transhash/{room}") or [ROOT / "transhash" / f"{room}.py"]
    for path in files:
        assert {room_of(name) for name in within(path)} <= allowed, path


def test_packages_have_no_import_cycles():
    TopologicalSorter({room: below - {room} for room, below in ROOMS.items()}).prepare()  # raises CycleError


@pytest.mark.parametrize("package", PUBLIC)
def test_other_packages_import_only_the_public_modules_of(package):
    public = {f"transhash.{package}.{module}".rstrip(".") for module in PUBLIC[package]}
    for path in sources("transhash"):
        if path.parts[len(ROOT.parts) + 1] not in (package, "training"):
            assert {name for name in within(path) if room_of(name) == package} <= public, path


def test_a_backend_knows_the_contracts_only():
    used = set().union(*(within(path) for path in sources("faiss_backend")))
    assert "transhash.backends" in used
    contracts = (
        "backends",
        "backends.clustering",
        "backends.rows",
        "errors",
        "hamming",
        "multi_index",
        "results",
        "system.files",
    )
    assert used <= {f"transhash.{name}" for name in contracts}


def test_one_module_connects_to_a_server():
    for path in sources("milvus_backend"):
        assert "grpc" not in imported(path) or path.name == "server.py"
    for path in sources("postgres_backend"):
        assert "psycopg.connect(" not in path.read_text() or path.name == "server.py"
    for path in sources("lance_backend"):
        assert "lancedb" not in imported(path) or path.name == "store.py"


def test_one_module_loads_faiss():
    """The others take it from there, so that a query of a small index does without."""
    for path in sources("faiss_backend"):
        assert "faiss" not in imported(path) or path.name == "library.py"


def test_objectives_do_not_import_the_run():
    for path in sources("transhash/training/objectives"):
        known = {"transhash.hashers.bit_layout", "transhash.training.config"}
        assert all("objectives" in name or name in known for name in within(path)), path


def test_modules_have_no_import_cycles():
    own = {name_of(path): within(path) for path in sources("transhash")}
    graph = {name: used - {name} for name, used in own.items()}  # a package may import its compiled module
    assert graph["transhash.training.loop"] > {"transhash.encoding.run", "transhash.training.learner"}
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize(
    ("library", "owners"),
    [
        ("h5py", ("codes", "sources.hdf5")),  # our format; files from other programs
        ("accelerate", ("training.learner",)),
        ("altair", ("report.charts",)),
        ("huggingface_hub", ("hashers.hub", "hashers.pretrain")),
        ("imagehash", ("hashers.phash",)),
        ("jinja2", ("report.page",)),
        ("onnx", ("hashers.onnx_export", "hashers.onnx_file")),
        ("onnxruntime", ("hashers.onnx_embedder",)),
        ("openvino", ("hashers.openvino_runtime",)),
        ("ray", ("encoding.ray_cluster",)),
        ("sklearn", ("datasets.digits", "demo")),
        ("starlette", ("serving.http",)),
        ("triton", ("gpu.kernels",)),
        ("uvicorn", ("serving.http.server",)),
        ("vl_convert", ("report.page",)),
    ],
)
def test_each_library_is_imported_by_its_owner_only(library, owners):
    users = [name_of(path) for path in sources("transhash") if library in imported(path)]
    assert users
    assert all(name.removeprefix("transhash.").startswith(owners) for name in users)


def test_torch_is_loaded_by_networks_and_training_only():
    """Other modules import torch inside functions."""
    light = (
        "hashers",
        "hashers.architecture",
        "hashers.base",
        "hashers.embedder_config",
        "hashers.embedder_hasher",
        "hashers.header",
        "hashers.onnx_embedder",
        "hashers.onnx_guard",
        "hashers.preprocessing",
        "hashers.tensor_file",
        "training.config",
        "training.fitting",
        "training.labels",
        "training.members",
        "training.projections",
        "training.run",
        "training.views",
        "training.watcher",
    )
    for path in sources("transhash"):
        name = name_of(path).removeprefix("transhash.")
        if not name.startswith(("gpu", "hashers", "training")) or name in light:
            assert not imported(path, at_start=True) & {"torch", "timm", "accelerate"}, path


def test_nothing_unpickles():
    for package in (
        "transhash",
        "faiss_backend",
        "lance_backend",
        "milvus_backend",
        "postgres_backend",
        "cli",
        "benchmarks",
    ):
        for path in sources(package):
            assert not imported(path) & {"pickle", "dill", "cloudpickle", "joblib"}, path
            assert "torch.load" not in text_of(path), path


def test_one_module_prints():
    for path in sources("cli"):
        if path.name != "render.py":
            calls = [node.func for node in nodes(path) if isinstance(node, ast.Call)]
            printing = {"print", "echo", "secho"}
            used = {getattr(call, "id", getattr(call, "attr", "")) for call in calls}
            assert not used & printing, path


LONGEST = 60  # lines per function, without decorators and docstring


@pytest.mark.parametrize("package", ["transhash", "faiss_backend", "milvus_backend", "cli"])
def test_functions_are_short(package):
    for path in sources(package):
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                described = ast.get_docstring(node) is not None
                docstring = first.end_lineno - first.lineno + 1 if described else 0
                assert node.end_lineno - node.lineno + 1 - docstring <= LONGEST, f"{path}: {node.name}"


def test_every_public_name_has_a_home():
    import transhash
    from transhash import _HOMES

    assert sorted(_HOMES) == sorted(transhash.__all__)
    (typed,) = (node for node in parsed(ROOT / "transhash" / "__init__.py").body if is_for_types(node))
    seen = {alias.name: node.module for node in typed.body for alias in node.names}
    assert seen == _HOMES
    reference = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    assert {
        line.removeprefix("::: transhash.") for line in reference.splitlines() if line[:3] == ":::"
    } == seen.keys()
