/* The bounded step by projected Newton (Bertsekas, "Projected Newton methods for optimization
 * problems with simple constraints", 1982): one factorisation, and the bounds are met in the
 * solve itself.
 *
 * The variables are the planned commands, the newest first. Three commands u_0, u_1, u_2 of two
 * channels a and b stand in memory as
 *
 *     v          0      1      2      3      4      5   |   6       7
 *     command  u_2,a  u_2,b  u_1,a  u_1,b  u_0,a  u_0,b | u_-1,a  u_-1,b  (applied already)
 *
 * so that v + COMMANDS is the command before v in time, and v - COMMANDS the command after it.
 * The push on a variable is minus the slope of the quadratic: where it is positive, a larger
 * command lowers the cost. The way to the step has four parts:
 *
 * 1. look_around and hold_bounds hold each command that stands on a bound and is pushed against
 *    it.
 * 2. linsolve_factor and linsolve_backward begin Newton's step of all other commands.
 * 3. substitute ends it, from the last command of the plan to the first. That command stands for
 *    the whole tail and matters most. Each command goes where the quadratic is lowest for the
 *    later commands, which have their values, and for earlier ones, which can still answer; then
 *    it is clamped into its range. Clamping a finished Newton step instead would leave the
 *    earlier commands where they suit values that the later commands did not get.
 * 4. If anything was held or clamped, sweep lowers the quadratic once more, one command at a
 *    time. It also frees a command that part 1 held and that the step of the others no longer
 *    pushes against its bound. The next call then begins with the right commands held.
 *
 * That nothing is to be gained is reported only after a sweep that began at the plan itself. */
/* -O3 peels the loops over a handful of variables. Measured as in linsolve.h: 19,885
 * instructions, and 20,047 with -O2, which is 104 bytes smaller. */
#ifdef __GNUC__
#pragma GCC optimize("O3")
#endif
#include "solver/bounded_step.h"

#include "solver/loop_bound.h"

/* Functions that only a plan on its bounds needs: built small, and kept out of the usual path. */
#define SELDOM __attribute__((noinline, cold))

typedef struct {
    float low;
    float high;
} range_t;

/* The bounds, where the commands stand in the plan, and where the step has brought them. */
typedef struct {
    const mpc_config_t *config;
    const float *from; /* the plan's commands */
    float *to;
    float z[LINSOLVE_STRIDE]; /* to - from */
} way_t;

/* In the place of a variable's leader: the command is held where the plan has it. */
#define HELD (-1)

/* Variables that have a planned command before them: all but those of u_0. With one command a
 * channel there are none, and the compiler drops the code for moves between planned commands. */
#define MOVES (VARIABLES - COMMANDS)

/* The range of each command while no other planned command has been chosen: with u_-1 = 0.2,
 * move_max = 0.1 and bounds of -0.25 and 0.45 it is 0.1 .. 0.3 for u_0, 0 .. 0.4 for u_1 and
 * -0.1 .. 0.45 for u_2. Inside such ranges substitute, which chooses the last command first,
 * always finds room for the earlier ones. True if any command stands on an end of its range or on
 * its move limit, and its push points there. */
static bool look_around(const way_t *way, const float push[VARIABLES], range_t ranges[VARIABLES])
{
    bool any = false;
    for (int c = 0; c < COMMANDS; ++c) {
        const float low = way->config->command_min[c];
        const float high = way->config->command_max[c];
        const float move_max = way->config->move_max[c];
        const float far = move_max - BOUND_TOLERANCE;
        float before = way->from[VARIABLES + c];
        range_t range = {before, before};
        for (int v = VARIABLES - COMMANDS + c; v >= 0; v -= COMMANDS) {
            const float u = way->from[v];
            range.low = larger(range.low - move_max, low);
            range.high = smaller(range.high + move_max, high);
            ranges[v] = range;
            if (push[v] > 0.0f
                    ? range.high - u <= BOUND_TOLERANCE || (MOVES > 0 && u - before >= far)
                    : u - range.low <= BOUND_TOLERANCE || (MOVES > 0 && before - u >= far)) {
                any = true;
            }
            before = u;
        }
    }
    return any;
}

/* Finds out which commands move by themselves, which move together and which are held, channel
 * by channel from the last command to the first:
 * - a command on its move limit that is pushed against it is tied to the command before it, and
 *   the two move as one, by the sum of their pushes;
 * - a command on a bound that is pushed against it is held, with all that are tied to it;
 * - so is u_0 on its move limit, because u_-1 before it cannot move.
 *
 * leader[v] becomes the last command of the group that moves with v: v itself if v is alone, HELD
 * if the group is held. The push of a group goes to its leader; all other pushes become 0. One
 * channel, u_2 pushed by 2 and on its upper move limit, u_1 pushed by -1, u_0 free:
 *
 *     v, command     0, u_2   1, u_1   2, u_0
 *     leader           0        0        2
 *     push         2 - 1 = 1    0      its own */
SELDOM static void hold_bounds(const way_t *way, float push[LINSOLVE_STRIDE],
                               int8_t leader[VARIABLES])
{
    for (int c = 0; c < COMMANDS; ++c) {
        const float low = way->config->command_min[c] + BOUND_TOLERANCE;
        const float high = way->config->command_max[c] - BOUND_TOLERANCE;
        const float far = way->config->move_max[c] - BOUND_TOLERANCE;
        float sum = 0.0f;
        bool held = false;
        int first = c;
        for (int v = c; v < VARIABLES; v += COMMANDS) {
            const float u = way->from[v];
            const float move = u - way->from[v + COMMANDS];
            bool stopped = false;
            sum += push[v];
            if (sum > 0.0f) {
                held = held || u >= high;
                stopped = move >= far;
            } else if (sum < 0.0f) {
                held = held || u <= low;
                stopped = -move >= far;
            }
            leader[v] = (int8_t)first;
            if (stopped && v + COMMANDS < VARIABLES) {
                push[v] = 0.0f;
                continue;
            }
            push[v] = 0.0f;
            push[first] = sum;
            if (stopped || held) {
                push[first] = 0.0f;
                for (int w = first; w <= v; w += COMMANDS) {
                    leader[w] = HELD;
                }
            }
            first = v + COMMANDS;
            sum = 0.0f;
            held = false;
        }
    }
}

/* Element (a, b) of a symmetric matrix of which only the lower half is kept. */
static inline float *element(float matrix[LINSOLVE_STRIDE][LINSOLVE_STRIDE], int a, int b)
{
    return a > b ? &matrix[a][b] : &matrix[b][a];
}

/* The Hessian of the groups that hold_bounds has made, in the full size: the row and column of a
 * leader are the sums over its group, and every command that does not move by itself gets the row
 * and column of the identity, whose solution is 0 for a push of 0. */
SELDOM static void reduce(const int8_t leader[VARIABLES], const quadratic_t *quadratic,
                          float matrix[LINSOLVE_STRIDE][LINSOLVE_STRIDE])
{
    memcpy(matrix, quadratic->hessian, sizeof quadratic->hessian);
    for (int v = 0; v < VARIABLES; ++v) {
        const int to = leader[v];
        if (to >= 0 && to < v) {
            matrix[to][to] += matrix[v][v] + 2.0f * matrix[v][to];
            for (int a = 0; a < VARIABLES; ++a) {
                LOOP_BOUND(VARIABLES);
                if (a != v && a != to) {
                    *element(matrix, a, to) += *element(matrix, a, v);
                }
            }
        }
    }
    for (int v = 0; v < VARIABLES; ++v) {
        for (int a = 0; leader[v] != v && a < VARIABLES; ++a) {
            *element(matrix, a, v) = a == v ? 1.0f : 0.0f;
        }
    }
}

/* Solves L z = y from the first row down, which is from the last command to the first, tile
 * after tile, and clamps each command into its range on the way. `leader` is NULL if every
 * command moves by itself. True if any command was clamped. */
static bool substitute(way_t *way, float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE],
                       const range_t ranges[VARIABLES], const int8_t leader[VARIABLES],
                       const float y[LINSOLVE_STRIDE])
{
    bool met = false;

    for (int i = 0; i < VARIABLES; i += LINSOLVE_TILE) {
        float left[LINSOLVE_TILE];
        const float *row = factor[i];
        UNROLL for (int r = 0; r < LINSOLVE_TILE; ++r) {
            left[r] = y[i + r];
        }
        for (const float *z = way->z; z != way->z + i; ++z, ++row) {
            UNROLL for (int r = 0; r < LINSOLVE_TILE; ++r) {
                left[r] = mac(-row[r * LINSOLVE_STRIDE], *z, left[r]);
            }
        }
        UNROLL for (int r = 0; r < LINSOLVE_TILE; ++r) {
            const int v = i + r;
            if (LINSOLVE_STRIDE > VARIABLES && v >= VARIABLES) {
                break;
            }
            range_t range = ranges[v];
            if (MOVES > 0 && v >= COMMANDS) {
                const int c = (LINSOLVE_TILE % COMMANDS == 0 ? r : v) % COMMANDS;
                const float move_max = way->config->move_max[c];
                const float after = way->to[v - COMMANDS];
                range.low = larger(range.low, after - move_max);
                range.high = smaller(range.high, after + move_max);
            }
            const int first = leader == NULL ? v : leader[v];
            float change = first == v      ? left[r] * row[r * LINSOLVE_STRIDE + r]
                           : first == HELD ? 0.0f
                                           : way->z[first];
            const float wanted = way->from[v] + change;
            const float command = clamp(wanted, range.low, range.high);
            way->to[v] = command;
            if (command != wanted) {
                met = true;
                change = command - way->from[v];
            }
            way->z[v] = change;
            UNROLL for (int q = r + 1; q < LINSOLVE_TILE; ++q) {
                left[q] = mac(-row[q * LINSOLVE_STRIDE + r], change, left[q]);
            }
        }
    }
    return met;
}

/* Minus the slope of the quadratic by variable v, at the step so far. */
static inline float push_of(const way_t *way, const quadratic_t *quadratic, int v)
{
    float push = -quadratic->gradient[v];
    UNROLL for (int a = 0; a < VARIABLES; ++a) {
        push = mac(-quadratic->hessian[v][a], way->z[a], push);
    }
    return push;
}

/* Is the move from command v to the command after it as large as it may be? */
static inline bool on_move_limit(const way_t *way, int v, float move_max)
{
    return v >= COMMANDS
           && fabsf(way->to[v - COMMANDS] - way->to[v]) >= move_max - BOUND_TOLERANCE;
}

/* Command v was clamped while it is still pushed: it pulls the command after it along if the two
 * stand on the move limit between them, then the next one too, as long as the chain goes on.
 * Every chain of v .. end moves as one, to its own minimum within the bounds: with u_0 = 0.1,
 * u_1 = 0.2, u_2 = 0.3 and move_max = 0.1 a push on u_0 first moves u_0 with u_1, then all
 * three. */
__attribute__((noinline)) static void move_together(way_t *way, const quadratic_t *quadratic,
                                                    int c, int v, float push)
{
    const float low = way->config->command_min[c];
    const float high = way->config->command_max[c];
    const float move_max = way->config->move_max[c];
    const float before = way->to[v + COMMANDS];
    float curvature = quadratic->hessian[v][v];
    float lowest = way->to[v];
    float highest = lowest;

    for (int end = v; on_move_limit(way, end, move_max);) {
        end -= COMMANDS;
        push += push_of(way, quadratic, end);
        curvature += quadratic->hessian[end][end];
        for (int w = end + COMMANDS; w <= v; w += COMMANDS) {
            curvature = mac(2.0f, quadratic->hessian[end][w], curvature);
        }
        lowest = smaller(lowest, way->to[end]);
        highest = larger(highest, way->to[end]);
        float least = larger(low - lowest, before - way->to[v] - move_max);
        float most = smaller(high - highest, before - way->to[v] + move_max);
        if (end >= COMMANDS) {
            const float after = way->to[end - COMMANDS] - way->to[end];
            least = larger(least, after - move_max);
            most = smaller(most, after + move_max);
        }
        const float shift = clamp(push / curvature, least, most);
        for (int w = end; w <= v; w += COMMANDS) {
            way->to[w] = clamp(way->to[w] + shift, low, high);
            way->z[w] = way->to[w] - way->from[w];
        }
        if (v >= MOVES) { /* u_0 is applied next: its move keeps the limit to the last bit */
            way->to[v] = clamp(way->to[v], before - move_max, before + move_max);
        }
        push = mac(-shift, curvature, push);
        lowest += shift;
        highest += shift;
    }
}

/* One sweep of coordinate descent on the quadratic, the commands of each channel from the last
 * to the first: each command by itself, then together with the commands after it that stand on
 * the move limits between them. */
static void sweep(way_t *way, const range_t ranges[VARIABLES], const quadratic_t *quadratic)
{
    for (int c = 0; c < COMMANDS; ++c) {
        const float low = way->config->command_min[c];
        const float high = way->config->command_max[c];
        const float move_max = way->config->move_max[c];
        float after = way->to[c + COMMANDS]; /* nothing follows the last command: no limit there */
        for (int v = c; v < VARIABLES; v += COMMANDS) {
            const float push = push_of(way, quadratic, v);
            const float curvature = quadratic->hessian[v][v];
            const float wanted = way->to[v] + push / curvature;
            range_t range = ranges[v];
            if (MOVES > 0) {
                const float before = way->to[v + COMMANDS];
                const bool falling = before < after;
                range.low = larger(low, (falling ? after : before) - move_max);
                range.high = smaller(high, (falling ? before : after) + move_max);
            }
            const float command = clamp(wanted, range.low, range.high);
            way->to[v] = after = command;
            way->z[v] = command - way->from[v];
            if (command != wanted && on_move_limit(way, v, move_max)) {
                move_together(way, quadratic, c, v, curvature * (wanted - command));
                after = way->to[v];
            }
        }
    }
}

/* How far half the cost falls along z by the slope at the plan alone. */
static inline float promise_of(const quadratic_t *quadratic, const float z[LINSOLVE_STRIDE])
{
    float promise = 0.0f;
    UNROLL for (int v = 0; v < VARIABLES; ++v) {
        promise = mac(-quadratic->gradient[v], z[v], promise);
    }
    return promise;
}

bool bounded_step_find(const mpc_config_t *config, plan_t *plan, quadratic_t *quadratic,
                       float enough, float *commands, float *promise)
{
    way_t way;
    float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE];
    float y[LINSOLVE_STRIDE];
    range_t ranges[VARIABLES];
    int8_t leader[VARIABLES];

    way.config = config;
    way.from = plan_variables(plan);
    way.to = commands;
    UNROLL for (int v = 0; v < LINSOLVE_STRIDE; ++v) {
        y[v] = -quadratic->gradient[v];
        way.z[v] = 0.0f;
    }
    const bool any = look_around(&way, y, ranges);
    if (any) {
        hold_bounds(&way, y, leader);
        reduce(leader, quadratic, factor);
    }
    if (!linsolve_factor(any ? factor : quadratic->hessian, factor)) {
        return false;
    }
    linsolve_backward(factor, y);
    const bool met = substitute(&way, factor, ranges, any ? leader : NULL, y);
    *promise = promise_of(quadratic, way.z);
    for (int turn = 0; turn < 2 && (any || met); ++turn) {
        /* A clamped step may lead uphill. The sweep then begins again at the plan. */
        if (*promise <= enough) {
            memset(way.z, 0, sizeof way.z);
            memcpy(way.to, way.from, VARIABLES * sizeof(float));
        } else if (turn > 0) {
            break;
        }
        sweep(&way, ranges, quadratic);
        *promise = promise_of(quadratic, way.z);
    }
    return is_finite(*promise);
}
