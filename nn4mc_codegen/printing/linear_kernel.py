"""`Linear` as its template linear.j2 sees it: dots or blocks, loops, and the list behind a gate."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from nn4mc_codegen.printing.access import Access
from nn4mc_codegen.printing.c import Tile, index
from nn4mc_codegen.printing.linear_blocks import BlockedLinear
from nn4mc_codegen.printing.linear_dots import Dots, dots_of
from nn4mc_codegen.printing.linear_loops import SumLoop, sum_loops
from nn4mc_codegen.printing.linear_operands import operand_lines
from nn4mc_codegen.printing.registers import (
    BODY_MACS,
    READ_AT_ONCE_MIN,
)


class PrintedLinear(BlockedLinear):
    """A `Linear` with what is computed before and after it."""

    @cached_property
    def dots(self) -> list[Dots]:
        return dots_of(self)

    def loops(self, rows: Tile, outputs: Tile, body: int = 0) -> list[SumLoop]:
        """The loops that make a block's sums, each of at most `body` multiply-accumulates a turn,
        by default what suits the mode."""
        limit = (body or BODY_MACS[self.mode]) // (rows.size * outputs.size)
        W = self.head.W[outputs.begin : outputs.end]
        x = self.head.x[rows.begin : rows.end]
        found: list[SumLoop] = []
        for begin, end in self.locator.spans(W, x):
            (W_access,) = self.locator.single([W[:, begin:end]])
            if self.feed is None:
                (x_access,) = self.locator.single([x[:, begin:end]])
            else:  # `packed`: the rows of one column after the other
                x_access = Access(self.feed.result, rows.begin, 1, len(self.head.x))
            if not self.is_zero(W_access):
                found += sum_loops(self, rows, outputs, end - begin, limit, W_access, x_access)
        return found

    @cached_property
    def placed(self) -> Collection[tuple[Tile, Tile]]:
        blocks = () if self.dots else self.blocks
        return {b for b in blocks if any(loop.places for loop in self.loops(*b))}

    # ------------------------------------------------------------------ what is switched on
    #
    # Behind a gate a first loop lists in `active` which inputs are switched on, a second one goes
    # over that list. Of inputs 0 … 4 with h = [0, 0.7, 0, 0, 0.2]:
    #
    #     active = 1, 4                 numbers of inputs, or with a feed pointers to their weights
    #     packed = x[·, 1], x[·, 4]     only with a feed, which computes these columns alone

    @property
    def listed(self) -> str:
        """What the list `active` holds of input i: its number, or with a feed the pointer to its
        weights, as its operands are found by their place in `packed`."""
        if self.feed is None:
            return "i"
        (W,) = self.locator.single([self.head.W])
        return f"{self.code.floats(W.array)} + {index(W.start, (W.step, 'i'))}"

    @property
    def feed_operands(self) -> list[str]:
        """Statements that load or compute what the feed multiplies."""
        return operand_lines(self, self.feed, 0, self.feed.x.shape[1])

    @property
    def feed_statements(self) -> list[str]:
        """Statements that make column i of the feed's result the next one of `packed`."""
        rows, inputs = self.feed.x.shape
        (W,) = self.locator.single([self.feed.W])
        at = index(W.start, (W.row_step, "i"))
        lines = [f"const float *W = {self.code.floats(W.array)} + {at};"]
        at_once = W.step == 1 and inputs >= READ_AT_ONCE_MIN
        if at_once:
            # The element that fills the row up to an even length is read as well.
            width = inputs + (W.row_step == inputs + 1)
            lines.append(f"{self.code.read_weights(width)}(W);")
            lines += [f"(void)w{inputs};"] * (width > inputs) + ["(void)W;"]
        for q in range(inputs):
            w = f"w{q}" if at_once else f"W[{q * W.step}]"
            for a in range(rows):
                lines.append(self.term(f"s{a}" if q else f"float s{a}", w, f"h{a}_{q}", q == 0))
        target = [index(a, (rows, "count")) for a in range(rows)]
        return [*lines, *(f"packed[{at}] = s{a};" for a, at in enumerate(target))]
