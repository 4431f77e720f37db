/* Text waits until all is known, since the counts come first. */
#include "ctl/verify/report.h"

#include "ctl/command.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

struct report {
    const struct history *history;
    size_t most;
    bool json;
    bool failed; /* a finding could not be kept */
    size_t counts[FINDING_COUNT];
    struct finding *kept;
    size_t kept_count, kept_capacity;
};

struct report *report_new(const struct history *history, size_t most, bool json) {
    struct report *report = calloc(1, sizeof *report);
    if (report) {
        report->history = history;
        report->most = most;
        report->json = json;
    }
    return report;
}

void report_free(struct report *report) {
    if (!report)
        return;
    free(report->kept);
    free(report);
}

/* ---- one finding ---- */

static bool keep(struct report *report, const struct finding *finding) {
    if (report->kept_count == report->kept_capacity) {
        size_t capacity = report->kept_capacity ? 2 * report->kept_capacity : 64;
        struct finding *bigger = realloc(report->kept, capacity * sizeof *bigger);
        if (!bigger)
            return false;
        report->kept = bigger;
        report->kept_capacity = capacity;
    }
    report->kept[report->kept_count++] = *finding;
    return true;
}

static void set_uuid(json_t *json, const char *key, const struct uuid *uuid) {
    char text[UUID_TEXT_SIZE + 1];
    uuid_format(uuid, text);
    json_object_set_new(json, key, json_string(text));
}

static bool print_json(const struct report *report, const struct finding *finding) {
    const struct history *history = report->history;
    const struct finding_info *info = &finding_infos[finding->name];
    json_t *json = json_pack("{s:s}", "name", info->name);
    if (!json)
        return false;
    if (finding->part != NO_PART) {
        const struct part *part = &history->parts[finding->part];
        json_object_set_new(json, "topic", json_string(part->topic));
        json_object_set_new(json, "partition", json_integer(part->id));
        json_object_set_new(json, "offset", json_integer(finding->offset));
    }
    if (finding->account != NO_ROW)
        set_uuid(json, "account_id", &history->accounts[finding->account].id);
    if (finding->has_command_id)
        set_uuid(json, "command_id", &finding->command_id);
    if (finding->has_event_id)
        set_uuid(json, "event_id", &finding->event_id);
    json_object_set_new(json, "meaning", json_string(info->meaning));
    json_object_set_new(json, "detail", json_string(finding->detail));
    json_object_set_new(json, "action", json_string(info->action));
    bool ok = !json_dumpf(json, stdout, JSON_COMPACT) && putchar('\n') != EOF;
    json_decref(json);
    return ok;
}

void report_finding(void *context, const struct finding *finding) {
    struct report *report = context;
    size_t count = ++report->counts[finding->name];
    if (report->json)
        report->failed |= !print_json(report, finding);
    else if (count <= report->most)
        report->failed |= !keep(report, finding);
}

static void print_uuid(const char *what, const struct uuid *uuid) {
    char text[UUID_TEXT_SIZE + 1];
    uuid_format(uuid, text);
    printf(" %s %s", what, text);
}

static void print_text(const struct report *report, const struct finding *finding) {
    const struct history *history = report->history;
    printf("   ");
    if (finding->part != NO_PART) {
        const struct part *part = &history->parts[finding->part];
        printf(" %s-%" PRId32, part->topic, part->id);
        if (finding->offset >= 0)
            printf(" offset %" PRId64, finding->offset);
    }
    if (finding->account != NO_ROW)
        print_uuid("account", &history->accounts[finding->account].id);
    if (finding->has_command_id)
        print_uuid("command", &finding->command_id);
    else if (finding->has_event_id)
        print_uuid("event", &finding->event_id);
    printf(": %s\n", finding->detail);
}

static void print_name(const struct report *report, enum finding_name name) {
    const struct finding_info *info = &finding_infos[name];
    size_t count = report->counts[name], shown = 0;
    printf("\n%s (%zu): %s\n", info->name, count, info->meaning);
    for (size_t i = 0; i < report->kept_count; i++) {
        if (report->kept[i].name != name)
            continue;
        print_text(report, &report->kept[i]);
        shown++;
    }
    if (shown < count)
        printf("    and %zu more, shown with --all\n", count - shown);
    printf("    what to do: %s\n", info->action);
}

/* ---- the counts ---- */

static void print_counts(FILE *out, const struct verdict *verdict) {
    const struct {
        const char *what;
        size_t count;
        bool always;
    } rows[] = {
        {"commands", verdict->commands, true},
        {"lists", verdict->lists, false},
        {"records that cannot be read", verdict->unreadable, false},
        {"records without a value", verdict->tombstones, false},
        {"committed results", verdict->results, true},
        {"results of aborted transactions", verdict->aborted, false},
        {"results of open transactions", verdict->pending, false},
        {"commands refused for trouble of ours (internal)", verdict->internal, false},
        {"dead letters", verdict->letters, true},
        {"ledger rows", verdict->ledger_rows, true},
        {"accounts with results", verdict->numbered_accounts, true},
        {"results whose chain holds", verdict->chained, true},
        {"waiting: commands not answered yet", verdict->waiting, true},
        {"unchecked: the result may be gone by retention", verdict->unchecked_answers, false},
        {"unchecked: the command is gone by retention", verdict->unchecked_results, false},
        {"unchecked: numbers before what is left", verdict->unchecked_numbers, false},
        {"unchecked: chains whose event before is gone", verdict->unchecked_chains, false},
        {"unchecked: dead letters or their records are gone", verdict->unchecked_letters, false},
        {"unchecked: of topics that are not configured", verdict->foreign, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].always || rows[i].count > 0)
            fprintf(out, "%12zu  %s\n", rows[i].count, rows[i].what);
    }
    fprintf(out, "%12zu  finding%s\n", verdict->findings, command_plural(verdict->findings));
}

bool report_print(const struct report *report, const struct verdict *verdict, struct error *err) {
    print_counts(report->json ? stderr : stdout, verdict);
    for (size_t name = 0; !report->json && name < FINDING_COUNT; name++) {
        if (report->counts[name] > 0)
            print_name(report, (enum finding_name)name);
    }
    return !report->failed ||
           error_set(err, FAULT_RETRY, "report", "not all findings could be kept or written");
}
