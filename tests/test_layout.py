"""Which way imports point, and what the package may import at all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mlx_vedec"
RUNTIME = {"mlx", "numpy", "PIL", "tokenizers", "safetensors", "huggingface_hub"}
RUNTIME |= {"yaml"}  # which huggingface_hub requires
OPTIONAL = {"measuring": {"matplotlib"}, "training": {"matplotlib"}}  # the extra `plot`
OPTIONAL["training"] |= {"tensorboard", "wandb"}  # the extras of these names
OPTIONAL["images"] = {"pillow_heif"}  # the extra `heic`
OPTIONAL["pages"] = {"pypdfium2", "pikepdf"}  # the extra `pdf`
OPTIONAL["data"] = {"pyarrow"}  # the extra `parquet`

# From the ground up: a room may import those on floors below its own, never one beside it.
FLOORS = (
    ("errors", "version"),
    ("files",),
    ("layers",),
    ("checkpoints",),
    ("encoders", "decoders", "generation", "images", "text", "adapters"),
    ("model",),
    ("tasks",),
    ("reading",),
    ("pages",),
    ("data",),
    ("measuring",),
    ("training",),
    ("conversion",),
    ("server",),
    ("commands",),
    ("__main__",),
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
FILES = {path: path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))}
NAMES = {
    ".".join(("mlx_vedec", *inside.with_suffix("").parts)).removesuffix(".__init__"): inside
    for inside in FILES.values()
}


def imports(path):
    """Every module an import statement names, those for type checkers and in functions too."""
    package = ("mlx_vedec", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            for alias in node.names:  # a module of a package, or a name of a module
                full = f"{module}.{alias.name}"
                yield full if full in NAMES else module


def room(inside):
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


ARROWS = {
    inside: {NAMES[name] for name in imports(path) if name in NAMES} - {inside}
    for path, inside in FILES.items()
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(FILES[path]))
def test_imports_point_down(path):
    own = room(FILES[path])
    for outside in {name.split(".")[0] for name in imports(path)} - {"mlx_vedec"}:
        known = RUNTIME | OPTIONAL.get(own, set()) | sys.stdlib_module_names
        assert outside in known | {"typing_extensions"}, f"{FILES[path]} imports {outside}"
    if FILES[path] == Path("__init__.py"):
        return
    for other in ARROWS[FILES[path]]:
        assert other != Path("__init__.py"), f"{FILES[path]} imports the package's root"
        assert room(other) == own or FLOOR[room(other)] < FLOOR[own], f"{FILES[path]} -> {other}"


def test_files_import_in_no_circle():
    waiting = {inside: set(arrows) for inside, arrows in ARROWS.items()}
    while free := [inside for inside, arrows in waiting.items() if not arrows & waiting.keys()]:
        for inside in free:
            del waiting[inside]
    assert not waiting, {str(a): [str(b) for b in bs & waiting.keys()] for a, bs in waiting.items()}


def test_every_file_is_in_a_room():
    """Five files are loose, all others in one of at most 18 rooms, nothing deeper."""
    loose = {inside.name for inside in FILES.values() if len(inside.parts) == 1}
    assert loose == {"__init__.py", "__main__.py", "errors.py", "version.py", "files.py"}
    assert {room(inside) for inside in FILES.values()} - {"__init__"} == set(FLOOR)
    assert max(len(inside.parts) for inside in FILES.values()) == 2
    assert sum((PACKAGE / name).is_dir() for name in FLOOR) <= 18


@pytest.mark.parametrize("folder", sorted(name for name in FLOOR if (PACKAGE / name).is_dir()))
def test_every_room_says_what_it_holds_and_imports(folder):
    text = (PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")
    what, _, imported = (ast.get_docstring(ast.parse(text)) or "").partition("Imports ")
    assert what and imported, f"{folder}/__init__.py"


def test_families_read_no_files():
    for folder in ("encoders", "decoders"):
        for inside in (inside for inside in FILES.values() if room(inside) == folder):
            reached = {other.name for other in ARROWS[inside] if room(other) == "checkpoints"}
            assert reached <= {"config.py", "families.py", "pretrained.py", "renames.py"}, inside


def test_import_and_help_stay_light():
    """`import mlx_vedec` and `--help` load neither MLX nor anything else that is heavy."""
    for code in ("import mlx_vedec", "import mlx_vedec.commands as c; c.main(['--help'])"):
        heavy = "{'mlx', 'numpy', 'PIL', 'tokenizers', 'huggingface_hub', 'torch', 'transformers'}"
        check = f"{code}; import sys; sys.exit(len({heavy} & set(sys.modules)))"
        assert (
            subprocess.run([sys.executable, "-c", check], stdout=subprocess.DEVNULL).returncode == 0
        )


def test_every_public_name_is_there_once():
    import mlx_vedec

    stub = (PACKAGE / "__init__.pyi").read_text(encoding="utf-8")
    named = [alias for node in ast.parse(stub).body[1:] for alias in node.names]
    assert all(alias.asname == alias.name for alias in named)  # else type checkers hide it
    assert sorted(alias.name for alias in named) == mlx_vedec.__all__
    assert all(getattr(mlx_vedec, name) is not None for name in mlx_vedec.__all__)
