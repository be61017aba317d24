"""The rules of the tree, as functions from a root folder to a list of complaints; test_layout.py runs them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FOLDERS = ("minicnn", "kernels", "models", "benchmarks", "tests", "docs", "examples", ".ci", ".github")
PROGRAM = ("minicnn", "kernels", "models", "benchmarks")  # the folders whose arrows and function lengths count
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".cfg", ".ini", ".in", ".txt", ".tsv", ".csv", ".cu", ".cuh", ".h", ""}

# Each row may import its own row and the rows above it; the longest name that fits decides.
ORDER = (
    ("minicnn.context",),
    ("minicnn.errors", "minicnn.files"),
    (
        "minicnn.kernels.arena",
        "minicnn.kernels.shape_array",
        "minicnn.kernels.arrays",
        "minicnn.kernels.memory",
        "minicnn.kernels.jit",
    ),
    ("minicnn.kernels",),
    (
        "minicnn.tape",
        "minicnn.tensor",
        "minicnn.deferred",
        "minicnn.operators",
        "minicnn.record",
        "minicnn.checkpoint",
        "minicnn.creation",
        "minicnn.devices",
        "minicnn.random",
        "minicnn.threads",
    ),
    ("minicnn.data", "minicnn.weights"),
    ("minicnn.ops",),
    ("minicnn.nn", "minicnn.optim", "minicnn.gradcheck"),
    ("minicnn.fusion",),
    ("minicnn.models",),
    (
        "minicnn",
        "minicnn.train",
        "minicnn.instruments",
        "minicnn.slides",
        "minicnn.summary",
        "minicnn.offline_page",
    ),
    ("minicnn.parallel",),
    ("minicnn.study",),
    ("minicnn.cli", "minicnn.__main__"),
    ("benchmarks",),
)
# Modules that may import less than their row: nothing of ours, or only these.
ONLY: dict[str, tuple[str, ...]] = {
    "minicnn.context": (),
    "minicnn.tape": (),
    "minicnn.files": (),
    "minicnn.data": ("minicnn.errors", "minicnn.files", "minicnn.tensor", "minicnn.data", "minicnn.kernels.jit"),
}
OPEN_TO_ALL = {"minicnn"}  # the package's own __init__ gathers the public names


def files(root: Path, folders: tuple[str, ...] = FOLDERS) -> Iterator[Path]:
    """Walk the project's files, each once: the two links, caches and build products are left out."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root)
            linked = inside.parts[:2] in (("minicnn", "kernels"), ("minicnn", "models"))
            cached = any(part == "__pycache__" or part.endswith(".egg-info") for part in inside.parts)
            if path.is_file() and not linked and not cached:
                yield path
    if folders is FOLDERS:
        yield from sorted(path for path in root.iterdir() if path.is_file())


def python_files(root: Path, folders: tuple[str, ...] = FOLDERS) -> Iterator[tuple[Path, str, ast.Module]]:
    for path in files(root, folders):
        if path.suffix == ".py":
            text = path.read_text(encoding="utf-8")
            yield path, path.relative_to(root).as_posix(), _parsed(text, str(path))


@cache
def _parsed(text: str, path: str) -> ast.Module:
    """The tree of a file, which every rule reads and none changes."""
    return ast.parse(text, filename=path)


TELLING = (ast.Import, ast.ImportFrom, ast.Attribute, ast.Call, ast.Constant, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def walked(tree: ast.Module) -> tuple[ast.AST, ...]:
    """The nodes of a tree that a rule looks at, of which several look at each."""
    return tuple(node for node in ast.walk(tree) if isinstance(node, TELLING))


def forget_trees() -> None:
    """A million nodes, which the collector would visit as long as the process lives."""
    _parsed.cache_clear()
    walked.cache_clear()


def module_name(root: Path, path: Path) -> str:
    """Return the dotted name a file has when imported: kernels/conv/cpu.py is minicnn.kernels.conv.cpu."""
    parts = path.relative_to(root).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(("minicnn", *parts) if parts[0] in ("kernels", "models") else parts)


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything imported, at any depth, also by import_module("...")."""
    for node in walked(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _callee(node) == "import_module" and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def _row(name: str) -> tuple[int, str] | None:
    fits = [(len(entry), row, entry) for row, names in enumerate(ORDER) for entry in names if _within(name, entry)]
    if not fits:
        return None
    _, row, entry = max(fits)
    return row, entry


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def arrows(root: Path) -> list[str]:
    """Complain about every import that points against ORDER, and about modules that ORDER does not know."""
    modules = {module_name(root, path) for path, _, _ in python_files(root, PROGRAM)}
    known = modules | {"minicnn"}
    complaints = []
    for path, where, tree in python_files(root, PROGRAM):
        importer = module_name(root, path)
        found = _row(importer)
        if found is None or (found[1] == "minicnn" and importer != "minicnn"):
            complaints.append(f"{where}: {importer} has no row in ORDER of tests/house_rules.py")
            continue
        for line, name in imported(tree):
            if importer in OPEN_TO_ALL or not (_within(name, "minicnn") or _within(name, "benchmarks")):
                continue
            target = name if name in known else name.rpartition(".")[0]
            complaints += _against(f"{where}:{line}", importer, found[0], target)
    return complaints


def _against(where: str, importer: str, row: int, target: str) -> list[str]:
    target_row = _row(target)
    if target_row is None or target_row[0] > row:
        return [f"{where}: {importer} imports {target}, which stands above it"]
    for package, allowed in ONLY.items():
        if _within(importer, package) and not any(_within(target, entry) for entry in allowed):
            return [
                f"{where}: {importer} imports {target}; it may import only {', '.join(allowed) or 'nothing of ours'}"
            ]
    return []


def banned_code(root: Path) -> list[str]:
    """Complain about what does not run on Windows or macOS, and about imports that double or hide a module."""
    complaints = []
    for _, where, tree in python_files(root):
        for node in walked(tree):
            complaint = _banned_import(node) or _banned_value(node) or _no_encoding(node)
            if complaint:
                complaints.append(f"{where}:{node.lineno}: {complaint}")  # type: ignore[attr-defined]
    return complaints


def _banned_import(node: ast.AST) -> str | None:
    if isinstance(node, ast.ImportFrom) and node.level:
        return "relative import; write the absolute name"
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    else:
        return None
    for top in (name.partition(".")[0] for name in names):
        if top in ("kernels", "models"):
            return f"`{top}` would be a second copy; import minicnn.{top}"
        if top in ("fcntl", "grp", "pwd", "resource", "termios"):
            return f"`{top}` exists on Unix only"
    return None


def _banned_value(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute) and node.attr in ("fork", "forkpty"):
        return "os.fork: use the spawn method of multiprocessing"
    if isinstance(node, ast.Call) and _callee(node) in ("get_context", "set_start_method"):
        method = node.args[0] if node.args else None
        return "the fork method: use spawn" if isinstance(method, ast.Constant) and method.value == "fork" else None
    temporary = "/" + "tmp"
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(temporary):
        return "hard-coded temporary path: use tempfile, or tmp_path in tests"
    return None


def _callee(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _no_encoding(node: ast.AST) -> str | None:
    """Complain about text read or written in the machine's own encoding, which is not UTF-8 on Windows."""
    if not isinstance(node, ast.Call) or any(keyword.arg in ("encoding", None) for keyword in node.keywords):
        return None
    name = _callee(node)
    method = isinstance(node.func, ast.Attribute)
    if len(node.args) < {"read_text": 1, "write_text": 2}.get(name, 0):
        return f"{name} without encoding="
    if name in ("run", "Popen", "check_output") and any(keyword.arg == "text" for keyword in node.keywords):
        return f"{name}(text=...) without encoding="
    modes = [keyword.value for keyword in node.keywords if keyword.arg == "mode"]
    if name in ("fdopen", "NamedTemporaryFile", "TemporaryFile") or (name == "open" and not method):
        position = 0 if "Temporary" in name else 1
        mode = (modes + node.args[position : position + 1] + [None])[0]
        default = "w+b" if "Temporary" in name else "r"
    elif name == "open" and method:  # Path.open; Image.open(path), gzip.open(path) have no mode as first argument
        mode = (modes + node.args[:1] + [None])[0]
        default = "r"
    else:
        return None
    text = default if mode is None else mode.value if isinstance(mode, ast.Constant) else "b"
    if isinstance(text, str) and set(text) <= set("rwxat+") and "b" not in text:
        return f"{name} in text mode without encoding="
    return None


def optional_packages(root: Path) -> list[str]:
    """Complain about tests that cannot be collected without an extra; what writes the golden files needs its own."""
    extras = ("torch", "torchvision", "optuna", "mpi4py", "onnx", "onnxruntime", "onnxscript")
    return [
        f'{where}:{line}: {name} is not in the extra `test`; write pytest.importorskip("{name.partition(".")[0]}")'
        for _, where, tree in python_files(root, ("tests",))
        for statement in tree.body
        if not where.startswith("tests/golden/")
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for line, name in imported(ast.Module([statement], []))
        if name.partition(".")[0] in extras
    ]


def sizes_and_names(root: Path) -> list[str]:
    """Complain about names that say nothing, files that are two ideas, and functions longer than a screen."""
    complaints = []
    for path in files(root):
        where = path.relative_to(root).as_posix()
        if path.stem in ("util", "utils", "common", "misc", "helpers"):
            complaints.append(f"{where}: the name says nothing; call the file by what it holds")
        if path.suffix in (".py", ".cu", ".cuh"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > 400:
                complaints.append(f"{where}: {lines} lines; a file past 400 is two ideas")
    for _, where, tree in python_files(root, PROGRAM):
        functions = [node for node in walked(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        complaints += [
            f"{where}:{node.lineno}: {node.name} has {_length(node)} lines without its docstring; at most 60"
            for node in functions
            if _length(node) > 60
        ]
    return complaints


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    end = function.end_lineno or function.lineno
    first = function.body[0]
    if ast.get_docstring(function) is None:
        return end - function.lineno + 1
    return end - function.lineno + 1 - ((first.end_lineno or first.lineno) - first.lineno + 1)


def machine_paths(root: Path) -> list[str]:
    """Complain about text that is true on one machine only."""
    banned = ("/" + "work/", "/" + "root/", "../" + "shared")
    complaints = []
    for path in files(root):
        if path.suffix not in TEXT:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            complaints += [f"{path.relative_to(root).as_posix()}:{number}: `{text}`" for text in banned if text in line]
    return complaints
