#include "boards/mps2-an386/uart.h"

#include "boards/cortex_m4/crash.h"
#include "boards/cortex_m4/ring.h"
#include "boards/mps2-an386/mps2_an386.h"
#include "wire/frame.h"

#define HOST_BAUD 2000000u

/* 1.56 Mbaud is the most that these can do; the emulator does not count the time of a bit. */
#define DIVISOR(baud) \
    (CLOCK_HZ / (baud) < UART_BAUDDIV_MIN ? UART_BAUDDIV_MIN : CLOCK_HZ / (baud))

/* More than a byte takes at 9600 baud; a turn is more than a cycle. */
#define BYTE_TURNS (CLOCK_HZ / 960u)

/* As those of stm32f405/usart.c. */
#define HOST_RING (FRAME_SIZE_MAX <= 256 ? 512 : 2048)
static uint8_t host_in[HOST_RING], host_out[HOST_RING];
static uint8_t sensor_in[512], sensor_out[64];
static uint8_t actuator_in[256], actuator_out[256];

static struct {
    uart_t *uart;
    uint32_t divisor;
    ring_t in, out;
} lines[PORTS] = {
    {UART0, DIVISOR(HOST_BAUD), RING(host_in), RING(host_out)},
    {UART1, DIVISOR(SENSOR_BAUD), RING(sensor_in), RING(sensor_out)},
    {UART2, DIVISOR(ACTUATOR_BAUD), RING(actuator_in), RING(actuator_out)},
};

void uart_start(void)
{
    for (uint32_t i = 0; i < PORTS; i++) {
        uart_t *uart = lines[i].uart;
        uart->bauddiv = lines[i].divisor;
        uart->ctrl =
            UART_CTRL_TX | UART_CTRL_RX | UART_CTRL_TX_INTERRUPT | UART_CTRL_RX_INTERRUPT;
        interrupt_start(UART_IRQ + 2u * i);
        interrupt_start(UART_IRQ + 2u * i + 1u);
    }
}

/* A byte that has left raises the interrupt that sends the next; the first is sent from here. */
static void transmit(int line)
{
    uart_t *uart = lines[line].uart;
    uint8_t byte;
    if ((uart->state & UART_STATE_TXFULL) == 0u && ring_take(&lines[line].out, &byte)) {
        uart->data = byte;
    }
}

/* A full ring drops the byte; the frame's checksum will tell. */
static void serve(int line)
{
    uart_t *uart = lines[line].uart;
    uart->intclear = UART_INT_TX | UART_INT_RX; /* before the flags are read: none gets lost */
    if ((uart->state & UART_STATE_RXFULL) != 0u) {
        (void)ring_put(&lines[line].in, (uint8_t)uart->data);
    }
    transmit(line);
}

void uart0_handler(void)
{
    serve(PORT_HOST);
}

void uart1_handler(void)
{
    serve(PORT_SENSOR);
}

void uart2_handler(void)
{
    serve(PORT_ACTUATOR);
}

bool uart_read(port_t port, uint8_t *byte)
{
    return ring_take(&lines[port].in, byte);
}

bool uart_has_bytes(void)
{
    uint32_t used = 0;
    for (int i = 0; i < PORTS; i++) {
        used |= ring_used(&lines[i].in);
    }
    return used != 0u;
}

bool uart_write(port_t port, const uint8_t *bytes, size_t size)
{
    if (!ring_put_all(&lines[port].out, bytes, size)) {
        return false;
    }
    interrupts_off();
    transmit(port);
    interrupts_on();
    return true;
}

static void write_polling(uart_t *uart, uint8_t byte)
{
    for (uint32_t turn = 0; (uart->state & UART_STATE_TXFULL) != 0u && turn < BYTE_TURNS; turn++) {
    }
    uart->data = byte;
}

/* A packet that has been begun is finished, else the actuators would take the next for its rest.
 * The zero-th turn after the last byte waits until that has left. */
void crash_write_last(const uint8_t *bytes, size_t size)
{
    uart_t *uart = lines[PORT_ACTUATOR].uart;
    ring_t *out = &lines[PORT_ACTUATOR].out;
    uint8_t byte;

    for (size_t i = 0; i < sizeof actuator_out && ring_take(out, &byte); i++) {
        write_polling(uart, byte);
    }
    for (size_t i = 0; i < size; i++) {
        write_polling(uart, bytes[i]);
    }
    for (uint32_t turn = 0; (uart->state & UART_STATE_TXFULL) != 0u && turn < BYTE_TURNS; turn++) {
    }
}
