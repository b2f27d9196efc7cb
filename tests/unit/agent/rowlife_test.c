// The table of a row's life, cell by cell.
#include "agent/rowlife.h"
#include <runnel/buf.h>
#include <runnel/file.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// One letter a cell: the next state, '.' where the event cannot reach the state.
//   o open  c committed  f frozen  r received  d durable  x refused  v void  k conflict
//   t thinned  e evicted  l lost
// Columns in the order of enum row_event: cut send received durable mismatch refuse re-encode
// conflict relabel timeout other-log thin evict damage.
static const char *const expected[ROW_STATES] = {
    [ROW_OPEN] = "c............l",    [ROW_COMMITTED] = ".f......c.ctel",
    [ROW_FROZEN] = ".frdfxvkcff.el",  [ROW_RECEIVED] = "..rdrxvk.ff.el",
    [ROW_DURABLE] = "..............", [ROW_REFUSED] = "..............",
    [ROW_VOID] = "..............",    [ROW_CONFLICT] = ".......kcff.el",
    [ROW_THINNED] = "..............", [ROW_EVICTED] = "..............",
    [ROW_LOST] = "..............",
};
static const char letters[] = "ocfrdxvktel";

static void every_cell_is_as_the_protocol_says(void **state)
{
    (void)state;
    for (int s = 0; s < ROW_STATES; s++) {
        for (int e = 0; e < ROW_EVENTS; e++) {
            struct row_step step = row_step((enum row_state)s, (enum row_event)e);
            char got = step.possible ? letters[step.next] : '.';
            if (got != expected[s][e])
                fail_msg("%s x %s gives %c", row_state_name((enum row_state)s),
                         row_event_name((enum row_event)e), got);
        }
    }
}

static void settled_states_never_change(void **state)
{
    (void)state;
    for (int s = 0; s < ROW_STATES; s++)
        for (int e = 0; e < ROW_EVENTS; e++)
            if (row_settled((enum row_state)s))
                assert_int_equal(row_step((enum row_state)s, (enum row_event)e).next, s);
    assert_true(row_settled(ROW_DURABLE) && row_settled(ROW_EVICTED) && row_settled(ROW_LOST));
    assert_false(row_settled(ROW_RECEIVED) || row_settled(ROW_CONFLICT));
}

static void everything_that_ends_a_row_is_committed_first(void **state)
{
    (void)state;
    for (int s = 0; s < ROW_STATES; s++)
        for (int e = 0; e < ROW_EVENTS; e++) {
            struct row_step step = row_step((enum row_state)s, (enum row_event)e);
            if (step.possible && row_settled(step.next))
                assert_true(step.persist);
        }
}

static void a_name_is_committed_as_used_before_it_is_sent_first(void **state)
{
    (void)state;
    struct row_step first = row_step(ROW_COMMITTED, ROW_SEND);
    assert_true(first.persist && first.sends);
    assert_false(row_step(ROW_FROZEN, ROW_SEND).persist);
}

// One line of the table in docs/PROTOCOL.md.
static void line_of(char *out, size_t size, enum row_state s)
{
    size_t n = (size_t)snprintf(out, size, "| **%s** |", row_state_name(s));
    for (int e = 0; e < ROW_EVENTS; e++) {
        struct row_step step = row_step(s, (enum row_event)e);
        n += step.possible
                 ? (size_t)snprintf(out + n, size - n, " %s%s%s |", row_state_name(step.next),
                                    step.persist ? " !" : "", step.sends ? " ->" : "")
                 : (size_t)snprintf(out + n, size - n, " |");
        assert_true(n < size);
    }
}

static void the_protocol_document_shows_the_same_table(void **state)
{
    (void)state;
    struct rn_buf doc;
    struct rn_err err = {.text = ""};
    rn_buf_init(&doc, 1 << 20);
    if (rn_file_read(PROJECT_SOURCE_DIR "/docs/PROTOCOL.md", &doc, &err) < 0)
        fail_msg("%s", err.text);
    for (int s = 0; s < ROW_STATES; s++) {
        char line[512];
        if (row_settled((enum row_state)s))
            continue;
        line_of(line, sizeof line, (enum row_state)s);
        if (!strstr(rn_buf_cstr(&doc), line))
            fail_msg("docs/PROTOCOL.md lacks this line: %s", line);
    }
    rn_buf_release(&doc);
}

static void only_durable_deletes_what_was_sent_and_not_counted_as_dropped(void **state)
{
    (void)state;
    for (int e = 0; e < ROW_EVENTS; e++)
        if (row_step(ROW_RECEIVED, (enum row_event)e).next == ROW_DURABLE)
            assert_int_equal(e, ROW_ACKED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cell_is_as_the_protocol_says),
        cmocka_unit_test(settled_states_never_change),
        cmocka_unit_test(everything_that_ends_a_row_is_committed_first),
        cmocka_unit_test(a_name_is_committed_as_used_before_it_is_sent_first),
        cmocka_unit_test(the_protocol_document_shows_the_same_table),
        cmocka_unit_test(only_durable_deletes_what_was_sent_and_not_counted_as_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
