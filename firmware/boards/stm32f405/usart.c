#include "boards/stm32f405/usart.h"

#include "boards/cortex_m4/crash.h"
#include "boards/cortex_m4/ring.h"
#include "boards/stm32f405/clock.h"
#include "boards/stm32f405/stm32f405.h"
#include "wire/frame.h"

#define HOST_BAUD 2000000u
#ifdef ACTUATOR_HALF_DUPLEX
#define HALF_DUPLEX true
#else
#define HALF_DUPLEX false
#endif

#define DIVISOR(clock_hz, baud) (((clock_hz) + (baud) / 2u) / (baud))

/* In: what comes during a control step. 1 ms at 2 Mbaud is 200 bytes, the longest frame is whole,
 * and so is a line of the sensors. Out: two of the longest frames to the host, some packets to the
 * actuators, a question to the sensors. Powers of two. */
#define HOST_RING (FRAME_SIZE_MAX <= 256 ? 512 : 2048)
static uint8_t host_in[HOST_RING], host_out[HOST_RING];
static uint8_t sensor_in[512], sensor_out[64];
static uint8_t actuator_in[256], actuator_out[256];

static struct {
    usart_t *usart;
    uint32_t irq;
    uint32_t divisor;
    bool half_duplex;
    ring_t in, out;
} lines[PORTS] = {
    {USART1, USART1_IRQ, DIVISOR(APB2_HZ, HOST_BAUD), false, RING(host_in), RING(host_out)},
    {USART2, USART2_IRQ, DIVISOR(APB1_HZ, SENSOR_BAUD), false, RING(sensor_in), RING(sensor_out)},
    {USART3, USART3_IRQ, DIVISOR(APB1_HZ, ACTUATOR_BAUD), HALF_DUPLEX, RING(actuator_in),
     RING(actuator_out)},
};

static bool is_emulated;

/* ------------------------------------------------------------------ start */

/* Alternate function 7, fast, pulled up, so that an open line is a quiet one. */
static void start_pin(gpio_t *gpio, uint32_t pin, bool open_drain)
{
    const uint32_t four = 4u * (pin % 8u);
    gpio->afr[pin / 8u] = (gpio->afr[pin / 8u] & ~(15u << four)) | (7u << four);
    gpio->ospeedr |= 2u << 2u * pin;
    gpio->pupdr = (gpio->pupdr & ~(3u << 2u * pin)) | (1u << 2u * pin);
    gpio->otyper |= (open_drain ? 1u : 0u) << pin;
    gpio->moder = (gpio->moder & ~(3u << 2u * pin)) | (2u << 2u * pin);
}

static void start_pins(void)
{
    RCC_AHB1ENR |= RCC_AHB1ENR_GPIOAEN;
    RCC_APB2ENR |= RCC_APB2ENR_USART1EN;
    start_pin(GPIOA, 9, false);
    start_pin(GPIOA, 10, false);
    RCC_AHB1ENR |= RCC_AHB1ENR_GPIOBEN;
    RCC_APB1ENR |= RCC_APB1ENR_USART2EN | RCC_APB1ENR_USART3EN;
    start_pin(GPIOA, 2, false);
    start_pin(GPIOA, 3, false);
    start_pin(GPIOB, 10, HALF_DUPLEX);
    if (!HALF_DUPLEX) { /* else the one wire is the sender's pin */
        start_pin(GPIOB, 11, false);
    }
}

void usart_start(bool emulated)
{
    is_emulated = emulated;
    start_pins();
    for (int i = 0; i < PORTS; i++) {
        usart_t *usart = lines[i].usart;
        usart->brr = lines[i].divisor;
        usart->cr3 = lines[i].half_duplex ? USART_CR3_HDSEL : 0u;
        usart->cr1 = USART_CR1_UE | USART_CR1_RXNEIE | USART_CR1_TE | USART_CR1_RE;
        interrupt_start(lines[i].irq);
    }
}

/* ------------------------------------------------------------------ in and out */

/* A full ring drops the byte; the frame's checksum will tell. */
static void receive(int line, uint32_t status)
{
    if ((status & (USART_SR_RXNE | USART_SR_ORE)) != 0u) {
        const uint8_t byte = (uint8_t)lines[line].usart->dr; /* clears both flags */
        if ((status & USART_SR_RXNE) != 0u) {
            (void)ring_put(&lines[line].in, byte);
        }
    }
}

/* On a line of one wire the receiver is off until the last byte has left: it would hear itself. */
static void transmit(int line, uint32_t status)
{
    usart_t *usart = lines[line].usart;
    const uint32_t control = usart->cr1;
    uint8_t byte;

    if ((control & USART_CR1_TXEIE) != 0u && (status & USART_SR_TXE) != 0u) {
        if (ring_take(&lines[line].out, &byte)) {
            usart->dr = byte; /* with the read of sr before it, clears TC */
        } else {
            usart->cr1 = (control & ~USART_CR1_TXEIE)
                         | (lines[line].half_duplex ? USART_CR1_TCIE : 0u);
        }
    } else if ((control & USART_CR1_TCIE) != 0u && (status & USART_SR_TC) != 0u) {
        usart->cr1 = (control & ~USART_CR1_TCIE) | USART_CR1_RE;
    }
}

static void serve(int line)
{
    const uint32_t status = lines[line].usart->sr;
    receive(line, status);
    if (!is_emulated) {
        transmit(line, status);
    }
}

void usart1_handler(void)
{
    serve(PORT_HOST);
}

void usart2_handler(void)
{
    serve(PORT_SENSOR);
}

void usart3_handler(void)
{
    serve(PORT_ACTUATOR);
}

bool usart_read(port_t port, uint8_t *byte)
{
    return ring_take(&lines[port].in, byte);
}

bool usart_has_bytes(void)
{
    uint32_t used = 0;
    for (int i = 0; i < PORTS; i++) {
        used |= ring_used(&lines[i].in);
    }
    return used != 0u;
}

bool usart_write(port_t port, const uint8_t *bytes, size_t size)
{
    usart_t *usart = lines[port].usart;
    if (is_emulated) {
        for (size_t i = 0; i < size; i++) {
            LOOP_BOUND(WRITE_MAX);
            usart->dr = bytes[i];
        }
        return true;
    }
    if (!ring_put_all(&lines[port].out, bytes, size)) {
        return false;
    }
    interrupts_off();
    const uint32_t off = USART_CR1_TCIE | (lines[port].half_duplex ? USART_CR1_RE : 0u);
    usart->cr1 = (usart->cr1 & ~off) | USART_CR1_TXEIE;
    interrupts_on();
    return true;
}

/* ------------------------------------------------------------------ the last words */

/* A byte takes ten bits, and a turn more than a cycle. */
static void wait_for(const usart_t *usart, uint32_t flag)
{
    for (uint32_t turn = 0; (usart->sr & flag) == 0u && turn < 10u * CLOCK_HZ / ACTUATOR_BAUD;
         turn++) {
    }
}

static void write_polling(usart_t *usart, uint8_t byte)
{
    wait_for(usart, USART_SR_TXE);
    usart->dr = byte;
}

/* A packet that has been begun is finished, else the actuators would take the next for its rest. */
void crash_write_last(const uint8_t *bytes, size_t size)
{
    usart_t *usart = lines[PORT_ACTUATOR].usart;
    ring_t *out = &lines[PORT_ACTUATOR].out;
    uint8_t byte;

    usart->cr1 = USART_CR1_UE | USART_CR1_TE;
    for (size_t i = 0; i < sizeof actuator_out && ring_take(out, &byte); i++) {
        write_polling(usart, byte);
    }
    for (size_t i = 0; i < size; i++) {
        write_polling(usart, bytes[i]);
    }
    wait_for(usart, USART_SR_TC);
}
