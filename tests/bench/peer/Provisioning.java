package peer;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.UUID;

/**
 * The rules and the database: a command is one transaction of at most seven statements, the same as those of connect.pgbench,
 * which pgjdbc prepares on the server after their fifth use. Of one thread, over one connection.
 */
final class Provisioning implements AutoCloseable {
    /** A result as it stands in the ledger. */
    record Answer(byte[] body, long appliedAt, String errorReason) {
    }

    private record Tail(long lastSequence, long now) {
    }

    private record Number(UUID account, String kind, String state, Long channel) {
    }

    private final Connection connection;
    private final PreparedStatement tail;
    private final PreparedStatement ledger;
    private final PreparedStatement channelByName;
    private final PreparedStatement channelById;
    private final PreparedStatement number;
    private final PreparedStatement place;
    private final PreparedStatement record;
    private final PreparedStatement count;
    private final Wire wire;

    Provisioning(String url, Wire wire) throws SQLException {
        this.wire = wire;
        connection = DriverManager.getConnection(url);
        connection.setAutoCommit(false);
        tail = connection.prepareStatement("select last_sequence, greatest(last_applied_at,"
                + " (extract(epoch from clock_timestamp()) * 1000000)::int8)"
                + " from siptrunk.account_tail where account_id = ? for no key update");
        ledger = connection.prepareStatement("select result, applied_at, error_reason from siptrunk.command_ledger"
                + " where account_id = ? and command_id = ?");
        channelByName = connection.prepareStatement("select channel_id, version, name from siptrunk.channel"
                + " where account_id = ? and name = ?");
        channelById = connection.prepareStatement("select channel_id, version, name from siptrunk.channel"
                + " where account_id = ? and channel_id = ?");
        number = connection.prepareStatement("select account_id, kind, state, channel_id from siptrunk.number"
                + " where e164 = ? for no key update");
        place = connection.prepareStatement("update siptrunk.number set channel_id = ?, number_type = null where e164 = ?");
        record = connection.prepareStatement("insert into siptrunk.command_ledger (account_id, command_id, account_sequence,"
                + " applied_at, source_offset, source_timestamp, result_schema, source_partition, source_topic, command_type,"
                + " outcome, error_reason, batch_id, mac_key_id, mac, result)"
                + " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'none', '', ?)");
        count = connection.prepareStatement("update siptrunk.account_tail set last_sequence = ?, last_applied_at = ?"
                + " where account_id = ?");
    }

    @Override
    public void close() throws SQLException {
        connection.close();
    }

    /** Does the command, or finds that it is done; when this returns, it is committed. */
    Answer apply(Command command) throws SQLException {
        Tail last = lockTail(command.account());
        Answer earlier = findAnswer(command);
        Answer answer = earlier == null ? decide(command, last) : earlier;
        connection.commit();
        return answer;
    }

    private Answer decide(Command command, Tail last) throws SQLException {
        Outcome outcome = last == null ? reject("account-not-found", "/account_id")
                : command.connects() ? connect(command) : disconnect(command);
        long sequence = last == null ? 0 : last.lastSequence() + 1;
        long now = last == null ? System.currentTimeMillis() * 1000 : last.now();
        String reason = outcome.reason() == null ? null : outcome.reason().urn();
        Answer answer = new Answer(wire.result(command, outcome, sequence, now), now, reason);
        insertRecord(command, outcome, sequence, answer);
        if (last != null)
            updateTail(command.account(), sequence, now);
        return answer;
    }

    // ---- rules ----

    private Outcome reject(String reason, String pointer) {
        return Outcome.rejected(wire.schemas().reason(reason, pointer));
    }

    private Outcome connect(Command command) throws SQLException {
        Outcome.Channel channel = findChannel(channelByName, command.account(), command.channelName());
        if (channel == null)
            return reject("channel-not-found", "/channel_name");
        Number number = lockNumber(command.number());
        if (number == null)
            return reject("number-not-found", "/number");
        if (!number.account().equals(command.account()))
            return reject("number-not-owned", "/number");
        if (!number.kind().equals("fixed"))
            return reject("number-not-fixed", "/number");
        if (!number.state().equals("available") || (number.channel() != null && number.channel() != channel.id()))
            return reject("number-not-available", "/number");
        if (number.channel() != null)
            return Outcome.noChange(channel);
        putNumber(command.number(), channel.id());
        return Outcome.applied(channel, null, channel.name());
    }

    private Outcome disconnect(Command command) throws SQLException {
        Number number = lockNumber(command.number());
        if (number == null)
            return reject("number-not-found", "/number");
        if (!number.account().equals(command.account()))
            return reject("number-not-owned", "/number");
        if (number.channel() == null)
            return reject("number-not-connected", "/number");
        Outcome.Channel channel = findChannel(channelById, command.account(), number.channel());
        if (command.channelName() != null && !command.channelName().equals(channel.name()))
            return reject("number-not-on-channel", "/number");
        putNumber(command.number(), null);
        return Outcome.applied(channel, channel.name(), null);
    }

    // ---- statements, in the order in which they are used ----

    private Tail lockTail(UUID account) throws SQLException {
        tail.setObject(1, account);
        try (ResultSet rows = tail.executeQuery()) {
            return rows.next() ? new Tail(rows.getLong(1), rows.getLong(2)) : null;
        }
    }

    private Answer findAnswer(Command command) throws SQLException {
        ledger.setObject(1, command.account());
        ledger.setObject(2, command.id());
        try (ResultSet rows = ledger.executeQuery()) {
            return rows.next() ? new Answer(rows.getBytes(1), rows.getLong(2), rows.getString(3)) : null;
        }
    }

    private static Outcome.Channel findChannel(PreparedStatement by, UUID account, Object key) throws SQLException {
        by.setObject(1, account);
        by.setObject(2, key);
        try (ResultSet rows = by.executeQuery()) {
            return rows.next() ? new Outcome.Channel(rows.getLong(1), rows.getLong(2), rows.getString(3)) : null;
        }
    }

    private Number lockNumber(String e164) throws SQLException {
        number.setString(1, e164);
        try (ResultSet rows = number.executeQuery()) {
            return rows.next() ? new Number(rows.getObject(1, UUID.class), rows.getString(2), rows.getString(3),
                    rows.getObject(4, Long.class)) : null;
        }
    }

    private void putNumber(String e164, Long channel) throws SQLException {
        place.setObject(1, channel, Types.BIGINT);
        place.setString(2, e164);
        place.executeUpdate();
    }

    private void insertRecord(Command command, Outcome outcome, long sequence, Answer answer) throws SQLException {
        record.setObject(1, command.account());
        record.setObject(2, command.id());
        record.setLong(3, sequence);
        record.setLong(4, answer.appliedAt());
        record.setLong(5, command.offset());
        record.setLong(6, command.timestamp());
        record.setLong(7, wire.fingerprint());
        record.setInt(8, command.partition());
        record.setString(9, command.topic());
        record.setString(10, command.type());
        record.setString(11, outcome.name());
        record.setString(12, answer.errorReason());
        record.setString(13, command.batchId());
        record.setBytes(14, answer.body());
        record.executeUpdate();
    }

    private void updateTail(UUID account, long sequence, long now) throws SQLException {
        count.setLong(1, sequence);
        count.setLong(2, now);
        count.setObject(3, account);
        count.executeUpdate();
    }
}
