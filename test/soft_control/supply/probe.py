"""A debug probe of pyOCD's with a Cortex-M4 at its other end, whose flash is that of boards.py."""

from __future__ import annotations

from pyocd.core.exceptions import TransferFaultError
from pyocd.probe.debug_probe import DebugProbe

from .boards import START, Registers

CPUID, DHCSR, AIRCR, DEMCR = 0xE000ED00, 0xE000EDF0, 0xE000ED0C, 0xE000EDFC
ROM_TABLE = 0xE00FF000


class Core:
    """What a debugger sees of the chip over its memory port, in words."""

    def __init__(self, chip: Registers) -> None:
        self.chip = chip
        self.halted = False
        self.other: dict[int, int] = {CPUID: 0x410FC241, AIRCR: 0xFA050000, DEMCR: 0}
        self.other |= {ROM_TABLE: 0xFFF0F003, ROM_TABLE + 4: 0}  # the system control space
        self._component(ROM_TABLE, (0x13, 0x04, 0x0A, 0x00), 0x10)
        self._component(0xE000E000, (0x0C, 0xB0, 0x0B, 0x00), 0xE0)

    def _component(self, base: int, part: tuple[int, ...], kind: int) -> None:
        words = {0xFD0: 0x04, 0xFD4: 0, 0xFD8: 0, 0xFDC: 0}
        words |= {0xFE0 + 4 * i: byte for i, byte in enumerate(part)}
        words |= {0xFF0 + 4 * i: byte for i, byte in enumerate((0x0D, kind, 0x05, 0xB1))}
        self.other |= {base + offset: word for offset, word in words.items()}

    def read(self, address: int) -> int:
        if START <= address < START + len(self.chip.memory.bytes) or address in (
            Registers.SR,
            Registers.CR,
            Registers.IDCODE,
        ):
            return self.chip.read32(address)
        if address == DHCSR:
            return 1 << 16 | (1 << 17 if self.halted else 0)
        if address >> 16 in (0xE000, 0xE00F) or 0x20000000 <= address < 0x20020000:
            return self.other.get(address, 0)
        raise TransferFaultError(fault_address=address)

    def write(self, address: int, word: int) -> None:
        if address >> 28 == 0 or address in (Registers.KEYR, Registers.SR, Registers.CR):
            assert self.halted, "the flash is written while the core runs"
            self.chip.write32(address, word)
        elif address == DHCSR:
            if word >> 16 == 0xA05F:
                self.halted = bool(word & 2)
        elif address == AIRCR and word & 4:
            self.chip.reset()
            self.halted = bool(self.other[DEMCR] & 1)
        else:
            self.other[address] = word


class Probe(DebugProbe):
    """Its registers are those of an ADIv5 debug port with one memory access port."""

    def __init__(self, chip: Registers) -> None:
        super().__init__()
        self.core = Core(chip)
        self._open = False
        self._dp = {0x4: 0, 0x8: 0}
        self._csw, self._tar = 0x23000052, 0

    vendor_name = product_name = "test"
    supported_wire_protocols = [DebugProbe.Protocol.DEFAULT, DebugProbe.Protocol.SWD]
    unique_id = "0001"
    wire_protocol = DebugProbe.Protocol.SWD
    capabilities = {DebugProbe.Capability.MANAGED_AP_SELECTION}
    is_open = property(lambda self: self._open)

    def open(self) -> None:
        self._open = True

    def close(self) -> None:
        self._open = False

    def connect(self, protocol=None) -> None:
        pass

    disconnect = reset = flush = lambda self: None

    def set_clock(self, frequency) -> None:
        pass

    def assert_reset(self, asserted) -> None:
        if asserted:
            self.core.chip.reset()

    def is_reset_asserted(self) -> bool:
        return False

    def read_dp(self, addr, now=True):
        value = {0x0: 0x2BA01477, 0x4: (self._dp[0x4] & 0x50000000) * 3}.get(addr, 0)
        return value if now else lambda: value

    def write_dp(self, addr, data) -> None:
        self._dp[addr] = data

    def read_ap(self, addr, now=True):
        value = self._read_ap(addr)
        return value if now else lambda: value

    def _read_ap(self, addr: int) -> int:
        if addr >> 24:
            return 0
        register = addr & 0xFF
        if register == 0x0C:
            return self._data(self.core.read(self._tar & ~3))
        if 0x10 <= register <= 0x1C:
            return self.core.read((self._tar & ~15) + register - 0x10)
        known = {0x00: self._csw, 0x04: self._tar, 0xF4: 0, 0xF8: ROM_TABLE | 3, 0xFC: 0x24770011}
        return known.get(register, 0)

    def write_ap(self, addr, data) -> None:
        register = addr & 0xFF
        if register == 0x00:
            self._csw = data | 0x40  # it is enabled, whatever is written
        elif register == 0x04:
            self._tar = data
        elif register == 0x0C:
            assert self._csw & 7 == 2, "this flash is written by words"
            self.core.write(self._tar, data)
            self._data(0)
        elif 0x10 <= register <= 0x1C:
            self.core.write((self._tar & ~15) + register - 0x10, data)

    def _data(self, word: int) -> int:
        """The address goes on by what was moved, where that is asked for."""
        if self._csw >> 4 & 3 == 1:
            self._tar += 1 << (self._csw & 7)
        return word

    def read_ap_multiple(self, addr, count=1, now=True):
        values = [self._read_ap(addr) for _ in range(count)]
        return values if now else lambda: values

    def write_ap_multiple(self, addr, values) -> None:
        for value in values:
            self.write_ap(addr, value)
