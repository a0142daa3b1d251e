"""Loops that end, and loops of which that is not seen, by their machine code alone."""

from __future__ import annotations

import pytest

from soft_control.proof.rules import endless

SOURCE = """
#include "cases.h"
#include "solver/loop_bound.h"

extern volatile uint32_t port[2];
volatile uint32_t port[2];
extern uint32_t heap[8];
uint32_t heap[8];

uint32_t upwards(const int32_t *in)
{
    uint32_t sum = 0;
    for (int32_t i = 0; i < in[0]; i++) {
        sum += port[0];
    }
    return sum;
}

uint32_t along(const int32_t *in)
{
    uint32_t sum = 0;
    for (const int32_t *at = in; at != in + INPUTS; at++) {
        sum = sum * 31u + (uint32_t)*at + port[0];
    }
    return sum;
}

uint32_t patient(const int32_t *in)
{
    for (uint32_t left = (uint32_t)in[0]; left > 0u && port[0] == 0u; left--) {
    }
    return port[1];
}

uint32_t shifted(const int32_t *in)
{
    uint32_t bits = 0;
    for (uint32_t rest = (uint32_t)in[0]; rest != 0u; rest >>= 1) {
        bits += port[0];
    }
    return bits;
}

uint32_t said(const int32_t *in)
{
    while (port[0] == 0u) {
        LOOP_BOUND(100u);
        port[1] = (uint32_t)in[0];
    }
    return 0;
}

uint32_t waits(const int32_t *in)
{
    while (port[0] == (uint32_t)in[0]) {
    }
    return 0;
}

/* The end moves away. */
uint32_t chased(const int32_t *in)
{
    int32_t end = in[0];
    for (int32_t i = 0; i < end; i++) {
        end += (int32_t)port[0];
    }
    return (uint32_t)end;
}

/* Not in each turn. */
uint32_t at_times(const int32_t *in)
{
    for (int32_t i = 0; i < in[0];) {
        if (port[0] != 0u) {
            i++;
        }
    }
    return 0;
}

/* There and back. */
uint32_t to_and_fro(const int32_t *in)
{
    for (int32_t i = 0; i < in[0];) {
        i += port[0] != 0u ? 1 : -1;
    }
    return 0;
}

uint32_t followed(const int32_t *in)
{
    uint32_t at = (uint32_t)in[0] & 7u;
    while (heap[at] != at) {
        at = heap[at] & 7u;
    }
    return at;
}
"""
END = ("upwards", "along", "patient", "shifted", "said")
MAY_NOT = ("waits", "chased", "at_times", "to_and_fro", "followed")


@pytest.mark.parametrize("level", ["-O1", "-O2", "-Os"])
def test_loops_that_may_not_end_are_found_and_no_others(build_cases, level):
    cases = build_cases(SOURCE, (*END, *MAY_NOT), level)
    executor = cases.executor()
    named = executor.image.named
    graphs = [executor.graph(named[name]) for name in (*END, *MAY_NOT)]
    assert all(graph.loops for graph in graphs)
    found = endless(executor.image, graphs, set(executor.bounds), set())
    assert {problem.function for problem in found} == set(MAY_NOT)
    assert endless(executor.image, graphs, set(executor.bounds), set(MAY_NOT)) == []
