#include "wire/message.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the wire is little-endian, and numbers are copied between it and memory as they are"
#endif

/* The kind of a number is its width in bytes: to copy a float is to copy any four bytes. */
enum { HOST_u8 = 1, HOST_u16 = 2, HOST_i16 = 2, HOST_u32 = 4, HOST_f32 = 4, HOST_points = 5 };
enum { OWN_u8 = 1, OWN_u16 = 2, OWN_i16 = 2, OWN_u32 = 4, OWN_f32 = 4, OWN_text = 5 };

/* Every message must fit into a frame: a compiler that complains of a negative array here has met a
 * FRAME_CONTENT_MAX that is too small. Points are as many as fit. */
enum { BYTES_u8 = 1, BYTES_u16 = 2, BYTES_i16 = 2, BYTES_u32 = 4, BYTES_f32 = 4, BYTES_text = 1 };
enum { BYTES_points = 1 };
/* A term of a sum: parentheses would end it. NOLINTNEXTLINE(bugprone-macro-parentheses) */
#define BYTES(S, kind, count, member) +BYTES_##kind * (count)
#define FITS(NAME) \
    typedef char NAME##_fits_a_frame[1 NAME##_FIELDS(BYTES, ) <= FRAME_CONTENT_MAX ? 1 : -1];

/* hello_fields, reset_fields ..: the payload of each message. */
#define HOST_FIELD(S, kind, count, member) {HOST_##kind, count, offsetof(S, member)},
#define OWN_FIELD(S, kind, count, member) {OWN_##kind, count, offsetof(S, member)},
#define FIELDS(NAME, name, FIELD, S) \
    static const message_field_t name##_fields[] = {NAME##_FIELDS(FIELD, S)};

#define FIELDS_FROM_HOST(NAME, name, type, when, order) \
    FITS(NAME)                                          \
    FIELDS(NAME, name, HOST_FIELD, request_t)
#define FIELDS_TO_HOST(NAME, name, type) \
    FITS(NAME)                           \
    FIELDS(NAME, name, OWN_FIELD, name##_t)
MESSAGES_FROM_HOST(FIELDS_FROM_HOST)
MESSAGES_TO_HOST(FIELDS_TO_HOST)

#define LINE(NAME, name, type, when, order) \
    {type, when, order, sizeof name##_fields / sizeof name##_fields[0], name##_fields},
#define LINE_TO_HOST(NAME, name, type) LINE(NAME, name, type, ANY_TIME, ANY_ORDER)
const message_line_t message_from_host[FROM_HOST_LINES] = {MESSAGES_FROM_HOST(LINE)};
const message_line_t message_to_host[TO_HOST_LINES] = {MESSAGES_TO_HOST(LINE_TO_HOST)};

message_error_t message_decode(const uint8_t *content, size_t size, request_t *request)
{
    const uint8_t *from = content + 1;
    const uint8_t *end = content + size;
    uint8_t line = 0;

    while (message_from_host[line].type != content[0]) {
        if (++line == FROM_HOST_LINES) {
            return MESSAGE_UNKNOWN_TYPE;
        }
    }
    memset(request, 0, sizeof *request);
    request->line = line;
    const message_field_t *field = message_from_host[line].fields;
    for (int left = message_from_host[line].field_count; left > 0; left--, field++) {
        size_t bytes = (size_t)field->kind * field->count;
        if (field->kind == HOST_points) {
            if (from == end || *from > MESSAGE_POINTS_MAX) {
                return MESSAGE_BAD_LENGTH;
            }
            request->points.count = *from++;
            bytes = request->points.count * sizeof request->points.at[0];
        }
        if (bytes > (size_t)(end - from)) {
            return MESSAGE_BAD_LENGTH;
        }
        memcpy((uint8_t *)request + field->offset, from, bytes);
        from += bytes;
    }
    return from == end ? MESSAGE_OK : MESSAGE_BAD_LENGTH;
}

size_t message_encode(const message_line_t *line, const void *message,
                      uint8_t content[FRAME_CONTENT_MAX])
{
    const message_field_t *field = line->fields;
    uint8_t *to = content;

    *to++ = line->type;
    for (int left = line->field_count; left > 0; left--, field++) {
        const uint8_t *from = (const uint8_t *)message + field->offset;
        if (field->kind == OWN_text) {
            const char *text;
            memcpy(&text, from, sizeof text);
            for (int i = field->count; i > 0; i--) { /* cut at `count`, padded with zeros */
                *to++ = (uint8_t)*text;
                text += *text != '\0';
            }
        } else {
            const size_t bytes = (size_t)field->kind * field->count;
            memcpy(to, from, bytes);
            to += bytes;
        }
    }
    return (size_t)(to - content);
}
