"""Who may import whom. The contracts stand in `.importlinter`; what it cannot say stands here."""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        "qupersync_shared",
        "qupersync_extractor",
        "qupersync_loader",
        "qupersync_local",
        include_external_packages=True,
        cache_dir=None,
    )


def test_every_contract_of_the_import_linter_is_kept() -> None:
    # A process of its own: in this one it would silence every logger, and with them the tests that listen.
    linter = Path(sys.executable).parent / "lint-imports"
    command = [linter, "--config", ROOT / ".importlinter", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=250)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("room", ["qupersync_shared.kernel", "qupersync_extractor.domain", "qupersync_loader.domain"])
def test_kernel_and_domain_import_the_standard_library_and_the_kernel_only(room: str, graph: grimp.ImportGraph) -> None:
    modules = [module for module in graph.modules if module == room or module.startswith(room + ".")]
    strangers = {
        f"{module} imports {imported}"
        for module in modules
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.partition(".")[0] not in sys.stdlib_module_names
        and not imported.startswith(("qupersync_shared.kernel", room))
    }

    assert modules
    assert not strangers


@pytest.mark.parametrize("service", ["qupersync_extractor", "qupersync_loader"])
def test_adapters_of_one_kind_know_nothing_of_those_of_another(service: str, graph: grimp.ImportGraph) -> None:
    """The in-memory twins are adapters too: no production code leans on them."""
    memory = f"{service}.infrastructure.memory"
    leaning = {
        importer
        for module in graph.modules
        if module == memory or module.startswith(memory + ".")
        for importer in graph.find_modules_that_directly_import(module)
        if not importer.startswith(memory)
    }

    assert not leaning
