"""The C file as it grows, and the templates that it is printed with."""

from __future__ import annotations

from collections.abc import Sequence

from nn4mc_codegen.graph.lower import unique
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.printing.c import c_float, indented, packed, template_environment
from nn4mc_codegen.printing.registers import CALLER_SAVED, REGISTERS
from nn4mc_codegen.program import functions
from nn4mc_codegen.program.expression import Expression, Function
from nn4mc_codegen.program.instructions import Array

# How tightly C's operators bind, from a choice ?: to a name or a call.
CHOICE, COMPARISON, SUM, PRODUCT, SIGN, NAME = range(6)

DERIVED = ("d_", "t_")
"""How the labels of derivatives' instructions begin: those that carry adjoints back, and those that
carry tangents forward."""


COEFFICIENTS = {"tanh": 8, "sigmoid": 9}
"""How many coefficients of a function templates/functions.j2 reads by one instruction."""


class Code:
    """The C file as it grows: constants, functions of floats, kernels.

    Whoever prints a statement asks here for the C name of what it uses, and it is then defined.
    """

    def __init__(self, options: Options, recurrent: bool = False):
        self.options = options
        self.recurrent = recurrent
        self.name = options.name
        self.constants: dict[str, Array] = {}
        self.functions: dict[str, Function] = {}
        self.kernels: dict[str, str] = {}
        """name of a kernel by its text, in which @ stands for the name"""
        self.helpers: set[str] = set()
        """which helpers of source.c.j2 are used: on (whether a gate is open), linear, linear_across
        (products of any size), inline (the macro)"""
        self.push_slopes = 0
        """size of what the step hands on to NAME_push"""
        self.array_functions: set[str] = set()
        """symbols of functions that are also applied to whole arrays, by a loop of their own"""
        self.weight_reads: set[int] = set()
        """numbers of weights that a macro reads by one instruction"""
        self.row_reads: set[tuple[int, int]] = set()
        """the same beside sums whose registers are told: also the number of the first register"""
        self.operand_reads: set[int] = set()
        """numbers of operands that a macro reads by one instruction"""
        self.environment = template_environment()

    def constant(self, array: Array) -> str:
        """C name of a constant array."""
        self.constants.setdefault(array.name, array)
        return f"{self.name}_{array.name}"

    def floats(self, array: Array) -> str:
        """C expression of a constant array as one of single floats."""
        return self.constant(array) + (".f" if array.paired else "")

    def use(self, function: Function) -> str:
        """C name of a function of one float."""
        self.functions.setdefault(function.symbol, function)
        return f"{self.name}_{function.symbol}"

    def kernel(self, label: str, text: str, inline: bool = False) -> str:
        """C name of the kernel with this text, in which @ stands for its name. Kernels of the same
        text are one function, whose name has the label of the first."""
        text = indented(text)
        if inline:
            self.helpers.add("inline")
            text = text.replace("static void @", f"static {self.macro}_INLINE void @", 1)
        if text not in self.kernels:
            label = label if label.startswith(DERIVED) else f"apply_{label}"
            used = [*self.kernels.values(), f"{self.name}_{label}"]
            self.kernels[text] = unique(used)[-1]
        return self.kernels[text]

    def read_weights(self, size: int) -> str:
        """C name of the macro that reads `size` weights from W on, as w0, w1, …, and moves W on."""
        self.weight_reads.add(size)
        return f"{self.macro}_ROW_{size}"

    def read_row(self, size: int, sums: int) -> str:
        """C name of the macro that does so beside as many sums, which stand in the first registers.

        Weights go into the last of the registers that a function may overwrite, if one is left for
        an operand between them and the sums, else into the last of all.
        """
        few = sums + 1 + size <= CALLER_SAVED
        first = (CALLER_SAVED if few else REGISTERS) - size
        self.row_reads.add((size, first))
        return f"{self.macro}_ROW_{size}_AT_{first}"

    def read_operands(self, size: int) -> str:
        """C name of the macro that reads `size` operands, as h0, h1, …"""
        self.operand_reads.add(size)
        return f"{self.macro}_HELD_{size}"

    def weights_macro(self, size: int, assembly: bool) -> str:
        """Definition of `read_weights`: by VLDM in assembly, or by plain loads.

        Up to 8 weights go into the last of the registers that a function may overwrite, s8 to s15,
        more of them into the last of all, up to s31: the first registers are left to operands.
        """
        few = size <= CALLER_SAVED // 2
        first = (CALLER_SAVED if few else REGISTERS) - size
        return self._reading(f"ROW_{size}(W)", "w", size, first, assembly, moves=True)

    def row_macro(self, size: int, first: int, assembly: bool) -> str:
        """Definition of `read_row`: the weights w0, w1, … are the registers from `first` on."""
        names = [f"w{k}" for k in range(size)]
        if assembly:
            lines = [f'register float {w} __asm__("s{first + k}");' for k, w in enumerate(names)]
            lines += [
                f'__asm__("vldmia %0!, {{s{first}-s{first + size - 1}}}" : "+r"(W),',
                *(f'"=t"({w}),' for w in names[:-1]),
                f'"=t"({names[-1]}) : "m"(*(const float(*)[{size}])(W)))',
            ]
        else:
            lines = [f"const float {w} = (W)[{k}];" for k, w in enumerate(names)]
            lines.append(f"(W) += {size}")
        return self._macro(f"ROW_{size}_AT_{first}(W)", lines)

    def operands_macro(self, size: int, assembly: bool) -> str:
        """Definition of `read_operands`: they go into the first registers, from s0 on."""
        return self._reading(f"HELD_{size}(x)", "h", size, 0, assembly, moves=False)

    def _reading(
        self, head: str, letter: str, size: int, first: int, assembly: bool, moves: bool
    ) -> str:
        pointer, numbers = head[-2], range(size)
        if assembly:
            # The values are copied at once from the variables that are bound to registers, for GCC
            # to put them where it likes: other statements may need these registers.
            outputs = [f'"=t"(r{k})' for k in numbers]
            given = [f'"m"(*(const float(*)[{size}])({pointer}))']
            if moves:
                outputs, at = [f'"+r"({pointer})', *outputs], "%0!"
            else:
                given, at = [f'"r"({pointer})', *given], f"%{size}"
            lines = [
                f"float {', '.join(f'{letter}{k}' for k in numbers)}; {{",
                *(f'register float r{k} __asm__("s{first + k}");' for k in numbers),
                f'__asm__("vldmia {at}, {{s{first}-s{first + size - 1}}}"',
                ":",
                *(f"{output}," for output in outputs[:-1]),
                f"{outputs[-1]} : {', '.join(given)});",
                *(f"{letter}{k} = r{k};" for k in numbers),
                "}",
            ]
        else:
            lines = [f"const float {letter}{k} = ({pointer})[{k}];" for k in numbers]
            lines.append(f"({pointer}) += {size}" if moves else "")
        return self._macro(head, lines)

    def _macro(self, head: str, lines: list[str]) -> str:
        text = packed("\n".join(lines)).rstrip()
        return f"#define {self.macro}_{head} \\\n    " + " \\\n    ".join(text.splitlines())

    @property
    def macro(self) -> str:
        return self.name.upper()

    @property
    def pairs(self) -> bool:
        return any(array.paired for array in self.constants.values())

    @property
    def constant_bytes(self) -> int:
        return sum(4 * array.size for array in self.constants.values())

    @property
    def ordered_functions(self) -> list[Function]:
        """The functions in use and those that they call, each after what it calls."""
        found: dict[str, Function] = {}

        def add(function: Function) -> None:
            calls = functions.CALLS.get(function.name, ())
            for called in (functions.TANH,) if self._by_tanh(function) else calls:
                add(called)
            found.setdefault(function.symbol, function)

        for symbol in sorted(self.functions):
            add(self.functions[symbol])
        return list(found.values())

    def _by_tanh(self, function: Function) -> bool:
        """Whether it is a call of tanh, which is smaller."""
        return self.options.optimize == "size" and function.name == "sigmoid"

    @property
    def weight_macros(self) -> list[int]:
        """The numbers of `weight_reads`, and those of the coefficients that functions read."""
        called = [f.name for f in self.ordered_functions if not self._by_tanh(f)]
        return sorted(self.weight_reads | {COEFFICIENTS[f] for f in called if f in COEFFICIENTS})

    @property
    def kernel_texts(self) -> list[str]:
        return [text.replace("@", name) for text, name in self.kernels.items()]

    def expression(self, e: Expression, operands: Sequence[str], within: int = CHOICE) -> str:
        """C of a formula with these names of its operands, in brackets if its last operator binds
        less tightly than `within`. A sum with a product is one call of NAME_mac, the multiply-add.
        """
        text, binds = self._printed(e, operands)
        return text if binds >= within else f"({text})"

    def _printed(self, e: Expression, operands: Sequence[str]) -> tuple[str, int]:
        """The text without brackets, and how tightly its last operator binds."""

        def part(k: int, within: int = CHOICE) -> str:
            return self.expression(e.args[k], operands, within)

        if e.op in ("var", "const"):
            text = operands[e.value] if e.op == "var" else c_float(e.value)
            return text, SIGN if text.startswith("-") else NAME
        if e.op == "call":
            return f"{self.use(e.value)}({part(0)})", NAME
        if e.op == "abs":
            return f"fabsf({part(0)})", NAME
        if e.op == "where":
            choice = f"{part(2, COMPARISON)} : {part(3)}"
            return f"{part(0, SUM)} > {part(1, SUM)} ? {choice}", CHOICE
        if e.op == "-" and e.args[0].op == "const" and e.args[0].value == 0.0:
            return f"-{part(1, NAME)}", SIGN
        for product, other in ((0, 1), (1, 0)) if e.op == "+" else ((1, 0),) * (e.op == "-"):
            if e.args[product].op == "*":
                a, b = e.args[product].args
                factor = self.expression(a, operands, NAME if e.op == "-" else CHOICE)
                factor = f"-{factor}" if e.op == "-" else factor
                return (
                    f"{self.name}_mac({factor}, {self.expression(b, operands)}, {part(other)})",
                    NAME,
                )
        binds = SUM if e.op in "+-" else PRODUCT
        return f"{part(0, binds)} {e.op} {part(1, binds + 1)}", binds
