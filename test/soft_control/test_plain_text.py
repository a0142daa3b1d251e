"""What anyone may have written is shown as one plain line; what is wrong with it is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from soft_control.learning.fields import Name
from soft_control.plain_text import first_fault, printable


@given(text=st.text(), length=st.integers(5, 40))
def test_any_text_becomes_printable_and_short(text, length):
    shown = printable(text, length)
    assert shown.isprintable() and len(shown) <= length


def test_what_is_printable_and_short_stays_as_it_is():
    assert printable("run_1/bag, 20 °C") == "run_1/bag, 20 °C"
    assert printable("a\nb") == "a\\nb"
    assert printable("\ud800\udc80") == "\\ud800\\x80"


class Named(BaseModel):
    names: list[Name]


@given(name=st.text(max_size=80))
def test_a_name_is_printable_or_a_fault_of_one_line(name):
    try:
        Named(names=[name])
    except ValidationError as error:
        said = first_fault(error)
        assert said.startswith("names.0 = ") and said.isprintable() and len(said) < 300
    else:
        assert name.isprintable() and 1 <= len(name) <= 64


@pytest.mark.parametrize(
    ("values", "said"),
    [({}, "names: missing"), ({"names": [""]}, "names.0 = '': "), ({"names": 3}, "names = 3: ")],
)
def test_a_fault_names_field_and_value(values, said):
    with pytest.raises(ValidationError) as caught:
        Named(**values)
    assert first_fault(caught.value).startswith(said)


def test_a_name_that_is_not_known_goes_before_one_that_is_missing():
    """Mistyped settings that are needed are both."""

    class Strict(Named):
        model_config = ConfigDict(extra="forbid")

    with pytest.raises(ValidationError) as caught:
        Strict(nmaes=["a"])
    assert first_fault(caught.value).startswith("nmaes = ['a']: no such setting")
