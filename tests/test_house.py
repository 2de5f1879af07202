"""What a newcomer relies on: the README's example, the environments, the import time, the layers."""

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import medlearn as ml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_example_of_the_readme_runs(tmp_path):
    example = re.search(r"## Six lines\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)[
        1
    ]
    assert len([line for line in example.splitlines() if line and not line.startswith("import")]) <= 6
    result = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert re.search(r"CaseMetrics\(dice=0\.\d+", result.stdout)
    assert (tmp_path / "phantom-0005_segmentation.nii.gz").exists()


def test_conda_environment_asks_for_the_same_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert [item.split("=")[0] for item in conda] == ["python", "pip"]
    assert Version(conda[0].split("=")[1]) >= Version(PROJECT["requires-python"].removeprefix(">="))
    assert pip == {"pip": ["-c constraints.txt", "-e .[lab]"]}  # so pyproject.toml alone says which packages
    assert "lab" in PROJECT["optional-dependencies"]


def test_constraints_pin_every_requirement_and_name_no_registry():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {name.lower().replace("_", "-"): Version(version) for name, version in pins.items()}
    assert not any(version.local for version in pins.values())
    assert not any("://" in line or line.startswith("-") for line in lines)
    extras = PROJECT["optional-dependencies"]
    for text in (*PROJECT["dependencies"], *extras["lab"], *extras["test"]):
        requirement = Requirement(text)
        assert pins[requirement.name.lower().replace("_", "-")] in requirement.specifier, text


def test_the_fixed_packages_of_the_course_are_asked_for():
    wanted = {"jupyterlab", "torch", "simpleitk", "matplotlib", "ipywidgets", "itkwidgets"}
    wanted |= {"opencv-python", "scikit-image", "nbval"}
    texts = [*PROJECT["dependencies"], *chain.from_iterable(PROJECT["optional-dependencies"].values())]
    assert wanted <= {Requirement(text).name.lower() for text in texts}


def test_import_is_light():
    heavy = {"torch", "matplotlib", "SimpleITK", "scipy", "pandas"}
    code = f"import sys, medlearn; print(*({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_every_public_name_loads_and_none_is_a_module_with_a_function_of_its_name():
    for name in ml.__all__:
        value = getattr(ml, name)
        if callable(value):
            module = sys.modules.get(f"medlearn.{name}")
            assert module is None, f"{name} is a module and a function"
            assert value.__doc__, f"{name} has no docstring"


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="segment_everything"):
        ml.segment_everything  # noqa: B018


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ml.__version__
    assert ml.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["lint-imports"]])
def test_lint(command):
    result = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
