"""Which way imports point, and what the package may import at all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mlx_vedec"
RUNTIME = {"mlx", "numpy", "PIL", "tokenizers", "safetensors", "huggingface_hub"}
RUNTIME |= {"yaml"}  # which huggingface_hub requires
OPTIONAL = {"quality": {"matplotlib"}, "training": {"matplotlib"}}

# From the ground up; a module may import those on floors below its own, and its own folder.
FLOORS = (
    {"errors", "files", "renames"},
    {"metrics", "folders", "stochastic"},
    {"hub", "cache_files", "cache_parts", "formats", "quantization", "tasks"},
    {"kv_cache", "recipes", "adapter_layers"},
    {"config", "cache", "tokens", "quantize"},
    {"layers", "weights", "imaging", "tokenization"},
    {"saving", "rewriting"},
    {"results", "finite", "outputs", "pretrained", "text", "images"},
    {"texts"},
    {"encoders", "decoders", "generation", "processor"},
    {"composite", "boxes", "adapters", "vocabulary"},
    {"assembly", "generating"},
    {"model"},
    {"memory"},
    {"batching", "shapes", "streams"},
    {"pipeline"},
    {"publishing", "quality"},
    {"conversion", "inspection", "benchmarking", "training"},
    {"fused_checkpoint", "evaluation"},
    {"commands"},
    {"__main__"},
)
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}


def part_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(path: Path):
    """(part of the package, or "" and the outside package) for each import that runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(node)
        for guard in ast.walk(tree)
        if isinstance(guard, ast.If) and ast.unparse(guard.test) == "TYPE_CHECKING"
        for node in ast.walk(guard)
    }
    package = ("mlx_vedec", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0], None
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            parts = (*base, *(node.module or "").split(".")) if node.module else base
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            yield from (("mlx_vedec", name) for name in names)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = part_of(path)
    for outside, inside in imports(path):
        if outside != "mlx_vedec":
            known = RUNTIME | OPTIONAL.get(own, set())
            assert outside in known or outside in sys.stdlib_module_names, outside
        elif inside not in (own, "__version__"):
            assert own == "__init__" or FLOOR[inside] < FLOOR[own], f"{own} imports {inside}"


def test_every_module_has_a_floor():
    """A new file has to be given its place, and the package is two levels deep."""
    assert {part_of(path) for path in FILES} - {"__init__"} == set(FLOOR)
    assert max(len(path.relative_to(PACKAGE).parts) for path in FILES) == 2


@pytest.mark.parametrize(("folder", "other"), [("encoders", "decoders"), ("decoders", "encoders")])
def test_families_stay_apart_and_read_no_files(folder, other):
    for path in (PACKAGE / folder).glob("*.py"):
        reached = {inside for _, inside in imports(path)}
        assert not reached & {other, "generation", "weights", "hub", "model"}, path


def test_import_and_help_stay_light():
    """`import mlx_vedec` and `--help` load neither MLX nor anything else that is heavy."""
    for code in ("import mlx_vedec", "import mlx_vedec.commands as c; c.main(['--help'])"):
        heavy = "{'mlx', 'numpy', 'PIL', 'tokenizers', 'huggingface_hub', 'torch', 'transformers'}"
        check = f"{code}; import sys; sys.exit(len({heavy} & set(sys.modules)))"
        assert (
            subprocess.run([sys.executable, "-c", check], stdout=subprocess.DEVNULL).returncode == 0
        )


def test_names_for_the_type_checker_are_those_at_run_time():
    import mlx_vedec

    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (guard,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {(node.module, alias.asname) for node in guard.body for alias in node.names}
    assert typed == {(home, name) for home, names in mlx_vedec.HOMES.items() for name in names}
    assert all(getattr(mlx_vedec, name) is not None for name in mlx_vedec.__all__)
