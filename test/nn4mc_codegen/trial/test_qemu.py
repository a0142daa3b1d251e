"""Measuring on the emulated Cortex-M4F, with C whose cost is known."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.trial import qemu
from nn4mc_codegen.trial.chips import CHIPS, MPS2
from nn4mc_codegen.trial.qemu import QemuError, TooLarge, measure, missing_tools

needs_arm = pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))

HEADER = """
#include <stdint.h>
#define NET_INPUTS 3
#define NET_OUTPUTS 2
#define NET_STATES 2
typedef struct { float value[NET_STATES]; } net_state;
void net_reset(net_state *state);
void net_step(net_state *state, const float x[NET_INPUTS], float y[NET_OUTPUTS]);
void net_vjp(const net_state *state, const float x[NET_INPUTS],
    const float v[NET_OUTPUTS], float g[NET_INPUTS * NET_OUTPUTS]);
void net_step_q(const int8_t x[NET_INPUTS], int8_t y[NET_OUTPUTS]);
void net_count(const float x[1], float y[1]);
void net_deep(const float x[1], float y[1]);
void net_wild(const float x[1], float y[1]);
void net_forgets(const float x[1], float y[2]);
"""

SOURCE = """
#include "net.h"
#include <math.h>
static const float table[100] = {1.0f, 2.0f};
static float kept[5];
void net_reset(net_state *state) { state->value[0] = 0.5f; state->value[1] = 0.0f; }
void net_step(net_state *state, const float x[3], float y[2])
{
    state->value[0] += x[0];
    state->value[1] = expf(x[1]);
    y[0] = state->value[0] * x[2];
    y[1] = state->value[1];
}
void net_vjp(const net_state *state, const float x[3], const float v[2], float g[6])
{
    for (int i = 0; i < 6; i++) {
        g[i] = state->value[0] * x[i % 3] * v[i % 2];
    }
}
void net_step_q(const int8_t x[3], int8_t y[2]) { y[0] = (int8_t)(x[0] + x[1]); y[1] = x[2]; }
void net_count(const float x[1], float y[1])
{
    for (int i = 0; i < (int)x[0]; i++) {
        __asm__ volatile("nop\\n\\tnop\\n\\tnop");
    }
    y[0] = table[(int)x[0]] + kept[0];
    kept[0] = 0.0f;
}
void net_deep(const float x[1], float y[1])
{
    volatile float room[250];
    for (int i = 0; i < 250; i++) { room[i] = x[0]; }
    y[0] = room[7];
}
void net_wild(const float x[1], float y[1])
{
    y[0] = *(const float *)(0x60000000u + (uint32_t)x[0]);
}
void net_forgets(const float x[1], float y[2]) { y[0] = x[0]; }
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.h").write_text(HEADER)
    (tmp_path / "net.c").write_text(SOURCE)
    return tmp_path


@needs_arm
def test_sequences_with_resets_and_states(net):
    x = np.array([[1, 0, 2], [1, 0, 2], [1, 0, 2], [1, 0, 2]])
    found = measure(net, "net", x, resets=[0, 0, 1, 0])
    # Resets leave 0.5; the first sample always begins with one.
    assert found.outputs["y"][:, 0].tolist() == [3, 5, 3, 5]
    assert found.outputs["state"][:, 0].tolist() == [1.5, 2.5, 1.5, 2.5]
    states = np.array([[10, 0], [20, 0]])
    set_before = measure(net, "net", x[:2], state=states)
    assert set_before.outputs["y"][:, 0].tolist() == [22, 42]
    v = measure(net, "net", x[:1], "vjp", v=np.array([1.0, -1.0]), state=states[:1])
    assert v.outputs["g"].tolist() == [[10, 0, 20, -10, 0, -20]]


@needs_arm
def test_int8(net):
    found = measure(net, "net", np.array([[100, 27, -128], [-5, 5, 1]]), "step_q")
    assert found.outputs["y"].tolist() == [[127, -128], [0, 1]]


@needs_arm
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.machine)
def test_instructions_are_exact(net, chip):
    """Each turn of a loop costs the same, and a trace of all instructions has as many."""
    x = np.array([[10], [20], [21]])
    costs = [measure(net, "net", n, "count", cycles=True, chip=chip) for n in x]
    a, b, c = (m.instructions for m in costs)
    assert b - a == 10 * (c - b) and 5 <= c - b <= 10
    assert all(m.cost.instructions == m.instructions for m in costs)
    again = measure(net, "net", x[[1, 0, 1, 2]], "count", chip=chip)
    assert again.instructions_each.tolist() == [b, a, b, c]


@needs_arm
def test_a_larger_chip_counts_the_same(net):
    """To an instruction, whatever the ticks of its timer make of it: no remainder is left out."""
    x = np.arange(64)[:, None]
    each = [measure(net, "net", x, "count", chip=chip).instructions_each for chip in CHIPS]
    np.testing.assert_array_equal(*each)


@needs_arm
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.machine)
def test_samples_end_where_enough_was_executed(net, chip):
    x = np.full((9, 1), 90.0)
    (one, *_) = measure(net, "net", x[:1], "count", chip=chip).instructions_each
    for most, wanted in ((0, 2), (int(3.5 * one), 4), (99 * one, 9)):
        found = measure(net, "net", x, "count", chip=chip, most_instructions=most)
        assert len(found.instructions_each) == len(found.outputs["y"]) == wanted


LARGE = """
#include "net.h"
static const unsigned char first[3 << 20] = {[(3 << 20) - 1] = 5}, second[3 << 20] = {[9] = 7};
static float kept[2 << 20];
void net_count(const float x[1], float y[1])
{
    const int i = (int)x[0];
    kept[i] += 1.0f;
    y[0] = (float)(first[i] + 10 * second[i]) + 100.0f * kept[i];
}
"""


@needs_arm
def test_what_a_small_chip_has_no_room_for_runs_on_a_large_one(net):
    """6 MiB of constants and 8 MiB of variables, which its 16 MiB of PSRAM hold."""
    (net / "net.c").write_text(LARGE)
    x = np.array([[9], [(3 << 20) - 1], [9]])
    with pytest.raises(TooLarge, match=r"B more of FLASH and \d+ B more of RAM than an STM32F405"):
        measure(net, "net", x, "count")
    found = measure(net, "net", x, "count", chip=MPS2)
    assert found.outputs["y"].ravel().tolist() == [170, 105, 270]
    assert found.flash_bytes > 6 << 20 and found.ram_bytes == 8 << 20
    (net / "net.c").write_text(LARGE.replace("[2 << 20]", "[6 << 20]"))
    with pytest.raises(TooLarge, match="B more of PSRAM than an MPS2"):
        measure(net, "net", x, "count", chip=MPS2)


@needs_arm
def test_profile_tells_functions_of_the_same_name_apart(net):
    """Loops of known length: each turn more costs as many instructions more, in its own file."""
    work = "static __attribute__((noinline)) void work(void) {{\n"
    work += '    for (int i = 0; i < {}; i++) {{ __asm__ volatile("nop"); }}\n}}\n'
    (net / "other.c").write_text(work.format(7) + "void other(void) { work(); }\n")
    found = []
    for turns in (10, 20, 30):
        (net / "net.c").write_text(
            '#include "net.h"\n#include <math.h>\nvoid other(void);\n'
            + work.format(turns)
            + "void net_count(const float *x, float *y) { work(); other(); y[0] = expf(x[0]); }\n"
        )
        sources = [net / "net.c", net / "other.c"]
        m = measure(net, "net", np.array([[1.0]]), "count", sources=sources, cycles=True)
        assert sum(m.profile.values()) == m.instructions
        assert list(m.profile.values()) == sorted(m.profile.values(), reverse=True)
        found.append(m.profile)
    first, second, third = (p["net.c", "work"] for p in found)
    assert third - second == second - first and 10 * 3 <= second - first <= 10 * 5
    assert {p["other.c", "work"] for p in found} == {found[0]["other.c", "work"]}
    assert found[0]["other.c", "work"] < first
    assert {("net.c", "net_count"), ("other.c", "other"), ("", "expf")} <= set(found[0])
    assert measure(net, "net", np.array([[1.0]]), "count", sources=sources).profile is None


@needs_arm
def test_empty_function_costs_its_return(net):
    (net / "net.c").write_text('#include "net.h"\nvoid net_count(const float *x, float *y) {}\n')
    found = measure(net, "net", np.array([[0]]), "count")
    assert (found.instructions, found.stack_bytes, found.ram_bytes) == (1, 0, 0)
    assert found.flash_bytes <= 4  # two bytes and padding


@needs_arm
def test_flash_ram_and_stack(net):
    x = np.array([[3.0]])
    count = measure(net, "net", x, "count")
    assert 400 < count.flash_bytes < 500  # the table and a little code
    assert count.ram_bytes == 20
    deep = measure(net, "net", x, "deep")
    assert 1000 <= deep.stack_bytes <= 1016 and deep.ram_bytes == 0
    assert deep.flash_bytes < 100  # nothing of the other functions
    both = measure(net, "net", x, "deep", keep=["deep", "count"])
    assert both.flash_bytes >= deep.flash_bytes + count.flash_bytes - 4
    with_libm = measure(net, "net", np.zeros((1, 3)))
    assert with_libm.flash_bytes > 300  # expf counts


@needs_arm
def test_what_a_function_forgets_is_nan(net):
    y = measure(net, "net", np.array([[3.0]]), "forgets").outputs["y"]
    assert y[0, 0] == 3 and np.isnan(y[0, 1])


@needs_arm
def test_failures_are_one_line(net):
    with pytest.raises(QemuError, match="faulted"):
        measure(net, "net", np.array([[0.0]]), "wild")
    (net / "net.c").write_text("int;;x")
    with pytest.raises(QemuError, match="arm-none-eabi-gcc: .*error") as error:
        measure(net, "net", np.zeros((1, 3)))
    assert "\n" not in str(error.value)


def test_without_the_toolchain(net, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(QemuError, match="apt install gcc-arm-none-eabi") as error:
        measure(net, "net", np.zeros((1, 3)))
    assert qemu.missing_tools() == str(error.value) and "\n" not in str(error.value)
