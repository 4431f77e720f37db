package peer;

/** What came of a command: a channel where it concerns one, what the channel's name was and is, or why it was rejected. */
record Outcome(String name, Channel channel, String before, String after, Reason reason) {

    record Channel(long id, long version, String name) {
    }

    /** A row of schemas/errors.json. */
    record Reason(String identifier, String urn, String message, int status, String pointer) {
    }

    static Outcome applied(Channel channel, String before, String after) {
        return new Outcome("APPLIED", channel, before, after, null);
    }

    static Outcome noChange(Channel channel) {
        return new Outcome("NO_CHANGE", channel, null, null, null);
    }

    static Outcome rejected(Reason reason) {
        return new Outcome("REJECTED", null, null, null, reason);
    }

    boolean changes() {
        return name.equals("APPLIED");
    }
}
