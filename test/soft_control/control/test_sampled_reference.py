from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from soft_control.control.sampled_reference import read_reference
from soft_control.learning.surface import Surface

NAMES = ("bend", "twist")


@pytest.fixture
def file(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "wanted.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_lap_goes_round_and_a_path_ends(file):
    lap = read_reference(file("twist,t_s,bend\n0,10,1\n4,12,3\n0,13,1\n"), NAMES)
    assert lap.periodic
    np.testing.assert_allclose(lap.values([0.0, 1.0, 2.0, 2.5, 4.0]), lap.values([3, 4, 5, 5.5, 7]))
    np.testing.assert_allclose(lap.values(1.0), [[2.0, 2.0]])
    path = read_reference(file("t_s,bend,twist\n0,0,0\n1,1,2\n"), NAMES)
    assert not path.periodic
    np.testing.assert_allclose(path.values([0.25, 9.0]), [[0.25, 0.5], [1.0, 2.0]])
    np.testing.assert_allclose(path.curve(3), [[0.0, 0.0], [0.5, 1.0], [1.0, 2.0]])


def test_outputs_that_follow_may_be_left_out(file):
    surface = Surface(leading=("bend",), factors=(1.0,), degree=1, following={"twist": (0.5, 2.0)})
    found = read_reference(file("t_s,bend\n0,0\n1,1\n"), NAMES, surface)
    assert found.rows == ((0.0, 0.5), (1.0, 2.5))
    own = read_reference(file("t_s,bend,twist\n0,0,0\n1,1,0\n"), NAMES, surface)
    assert own.rows == ((0.0, 0.0), (1.0, 0.0))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column t_s"),
        ("time,bend\n", "no column t_s"),
        ("t_s,bend\n0,0\n1,1\n", "no column twist: wanted t_s and bend, twist"),
        ("t_s,bend,twist\n0,0,0\n", "at least two rows"),
        ("t_s,bend,twist\n0,0,0\n1,a,0\n", "row 3: 'a' is no number"),
        ("t_s,bend,twist\n0,0,0\n1,nan,0\n", "row 3: 'nan' is not finite"),
        ("t_s,bend,twist\n0,0,0\n1,0\n", "row 3: 2 values, but the first row names 3 columns"),
        ("t_s,bend,twist\n0,0,0\n1,0,0\n1,0,0\n", "row 4: t_s does not increase"),
        ("t_s,bend,bend\n", "a column is there twice"),
        (b"t_s,bend\xff\n", "not CSV"),
        ("t_s,bend,twist\n0,0,0\n1,\x1b[31m,0\n", "row 3: .* is no number"),
    ],
)
def test_a_file_that_is_none_is_one_line_with_its_name(file, text, said: str):
    with pytest.raises(ValueError, match=f"wanted.csv.*{said}") as refused:
        read_reference(file(text), NAMES)
    assert "\n" not in str(refused.value) and "\x1b" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.csv: No such file"):
        read_reference(tmp_path / "none.csv", NAMES)
