-- migrate:up

-- Everything of the provisioning worker lives in this schema. Names are qualified throughout, so that the
-- file means the same whatever search_path runs it.
create schema siptrunk;
comment on schema siptrunk is 'SIP-trunk provisioning: inventory, channels, numbers, command ledger';

-- A text domain instead of a CHECK on each table: a domain is looked at when a value enters, a CHECK on
-- every update of the row, and numbers are updated a great deal.
create domain siptrunk.e164 as text collate "C"
  constraint e164_format check (value ~ '^\+[1-9][0-9]{1,14}$');
comment on domain siptrunk.e164 is 'ITU-T E.164 number: plus sign, then 2 to 15 digits';

-- ---------------------------------------------------------------------------------------------------
-- The installation itself

create table siptrunk.installation (
  singleton    boolean not null default true,
  cluster_id   text,
  state        text    not null default 'normal',
  state_reason text,
  mac_key_id   text    not null,
  mac_key      bytea   not null,
  constraint installation_pk primary key (singleton),
  constraint installation_singleton check (singleton),
  constraint installation_state check (state in ('normal', 'diverged')),
  constraint installation_mac_key check (octet_length(mac_key) = 32)
);
comment on table siptrunk.installation is
  'One row: the Kafka cluster that the positions belong to, whether database and log agree, the key of last resort for command MACs';
comment on column siptrunk.installation.cluster_id is 'Kafka cluster id, learnt at the first start';
comment on column siptrunk.installation.state is
  'diverged: published results are ahead of this database; nothing is stored until that is repaired';
comment on column siptrunk.installation.mac_key is
  'Secret. Keyed hashes of commands are made with it where no key file is configured';

-- Each gen_random_uuid() brings 122 bits of the server's strong random source.
insert into siptrunk.installation (mac_key_id, mac_key)
values ('installation',
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));

-- ---------------------------------------------------------------------------------------------------
-- Accounts

create table siptrunk.account (
  account_id uuid not null,
  name       text not null default '',
  constraint account_pk primary key (account_id),
  constraint account_name_length check (char_length(name) <= 255)
);
comment on table siptrunk.account is 'Customers, owned by the inventory';

create table siptrunk.account_tail (
  account_id      uuid   not null,
  last_sequence   bigint not null default 0,
  last_applied_at bigint not null default 0,
  last_chain      bytea  not null default decode(repeat('00', 32), 'hex'),
  constraint account_tail_pk primary key (account_id),
  constraint account_tail_account_fk foreign key (account_id) references siptrunk.account (account_id),
  constraint account_tail_sequence check (last_sequence >= 0),
  constraint account_tail_chain check (octet_length(last_chain) = 32)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);
comment on table siptrunk.account_tail is
  'End of each account''s chain of results. The worker locks this row, never account, so that foreign keys and the inventory do not wait for commands';
comment on column siptrunk.account_tail.last_applied_at is 'Microseconds since 1970 UTC';
comment on column siptrunk.account_tail.last_chain is 'SHA-256 of the last result; 32 zero bytes before the first';

-- Other systems write account directly, hence a trigger. Per statement: a load of a million accounts pays
-- for one join, not for a million calls. The definer's rights spare those systems a grant on the tail.
create function siptrunk.account_tail_create() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into siptrunk.account_tail (account_id)
  select account_id from inserted on conflict do nothing;
  return null;
end
$$;
comment on function siptrunk.account_tail_create() is 'Gives each new account the tail of its results';

create trigger account_tail_create after insert on siptrunk.account
  referencing new table as inserted
  for each statement execute function siptrunk.account_tail_create();

create table siptrunk.subscription (
  account_id uuid not null,
  kind       text not null,
  constraint subscription_pk primary key (account_id, kind),
  constraint subscription_account_fk foreign key (account_id) references siptrunk.account (account_id),
  constraint subscription_kind check (kind in ('sip_trunk', 'operator_connect'))
);
comment on table siptrunk.subscription is 'What an account has bought; a channel belongs to one of these';

-- ---------------------------------------------------------------------------------------------------
-- Catalogues and what each account may use of them

create table siptrunk.proxy (
  proxy_id uuid not null,
  name     text collate "C" not null,
  constraint proxy_pk primary key (proxy_id),
  constraint proxy_name_length check (char_length(name) between 1 and 255)
);
comment on table siptrunk.proxy is 'Proxies that a channel may use';

create table siptrunk.template (
  template_id uuid not null,
  name        text collate "C" not null,
  constraint template_pk primary key (template_id),
  constraint template_name_length check (char_length(name) between 1 and 255)
);
comment on table siptrunk.template is 'Channel templates; their ids are a space of their own';

create table siptrunk.call_barring (
  code text collate "C" not null,
  name text collate "C" not null,
  constraint call_barring_pk primary key (code),
  constraint call_barring_code_length check (char_length(code) between 1 and 64),
  constraint call_barring_name_length check (char_length(name) between 1 and 255)
);
comment on table siptrunk.call_barring is 'Call barrings; codes are case-sensitive, names kept as they came';

create table siptrunk.account_proxy (
  account_id uuid not null,
  proxy_id   uuid not null,
  constraint account_proxy_pk primary key (account_id, proxy_id),
  constraint account_proxy_account_fk foreign key (account_id) references siptrunk.account (account_id),
  constraint account_proxy_proxy_fk foreign key (proxy_id) references siptrunk.proxy (proxy_id)
);
comment on table siptrunk.account_proxy is 'Proxies granted to an account';

create table siptrunk.account_template (
  account_id  uuid not null,
  template_id uuid not null,
  constraint account_template_pk primary key (account_id, template_id),
  constraint account_template_account_fk foreign key (account_id) references siptrunk.account (account_id),
  constraint account_template_template_fk foreign key (template_id) references siptrunk.template (template_id)
);
comment on table siptrunk.account_template is 'Templates granted to an account';

create table siptrunk.account_call_barring (
  account_id uuid not null,
  code       text collate "C" not null,
  constraint account_call_barring_pk primary key (account_id, code),
  constraint account_call_barring_account_fk foreign key (account_id) references siptrunk.account (account_id),
  constraint account_call_barring_code_fk foreign key (code) references siptrunk.call_barring (code)
);
comment on table siptrunk.account_call_barring is 'Call barrings granted to an account';

create table siptrunk.account_caller_id (
  account_id uuid          not null,
  caller_id  siptrunk.e164 not null,
  constraint account_caller_id_pk primary key (account_id, caller_id),
  constraint account_caller_id_account_fk foreign key (account_id) references siptrunk.account (account_id)
);
comment on table siptrunk.account_caller_id is 'Caller ids an account may show; not necessarily numbers of ours';

-- ---------------------------------------------------------------------------------------------------
-- Channels

create table siptrunk.channel (
  account_id   uuid   not null,
  channel_id   bigint not null generated always as identity,
  version      bigint not null default 1,
  name         text collate "C" not null,
  subscription text   not null,

  caller_id           siptrunk.e164,
  password_key_id     text,
  password_nonce      bytea,
  password_ciphertext bytea,
  block_caller_id     boolean,
  area_code           text,
  call_barrings       text[] collate "C",
  full_e164           boolean,

  trunk_template_id                uuid,
  trunk_manual_caller_id           boolean,
  trunk_forward_clip               boolean,
  trunk_t38_codec                  boolean,
  trunk_call_forwarding_facilities boolean,
  trunk_destination_filter         text,
  trunk_ip_whitelist               cidr[],
  trunk_proxy_id                   uuid,
  trunk_reference                  text,
  trunk_ping                       integer,
  trunk_ringing_timeout            integer,

  audio_dtmf               integer,
  audio_g729_codec         boolean,
  audio_h263_codec         boolean,
  audio_h264_codec         boolean,
  audio_allow_external_rtp boolean,
  audio_rtp_timeout        integer,
  audio_rtp_hold_timeout   integer,
  audio_remote_party_id    boolean,
  audio_progress_inband    boolean,

  clip_ten_digits_length boolean,
  clip_method            integer,
  clip_deny              boolean,
  clip_restrict_value    text,

  did_ten_digits_length boolean,
  did_in_display_name   boolean,
  did_to_header         boolean,
  did_uri_header        boolean,
  did_filter            text,

  failover_forward_to         text,
  failover_external_caller_id boolean,

  teams_tenant_id uuid,

  constraint channel_pk primary key (account_id, channel_id),
  -- Looked at when a statement ends, not row by row: one UPDATE of a batch may pass a name from one channel
  -- to another. The price is that it cannot be the target of ON CONFLICT.
  constraint channel_name_unique unique (account_id, name) deferrable initially immediate,
  constraint channel_subscription_fk foreign key (account_id, subscription)
    references siptrunk.subscription (account_id, kind),
  -- A grant may be withdrawn while a channel uses it, so these point at the catalogue, not at the grant.
  constraint channel_template_fk foreign key (trunk_template_id) references siptrunk.template (template_id),
  constraint channel_proxy_fk foreign key (trunk_proxy_id) references siptrunk.proxy (proxy_id),

  constraint channel_version check (version >= 1),
  constraint channel_name_format check (char_length(name) between 1 and 64 and name !~ '^\s|\s$|[[:cntrl:]]'),
  constraint channel_password check (
    num_nulls(password_key_id, password_nonce, password_ciphertext) in (0, 3)
    and (octet_length(password_nonce) = 12 or octet_length(password_nonce) = 0)
        is distinct from false),
  constraint channel_area_code check (area_code ~ '^[0-9]{1,8}$'),
  constraint channel_call_barrings check (
    cardinality(call_barrings) >= 1 and array_ndims(call_barrings) = 1
    and array_position(call_barrings, null) is null),
  constraint channel_destination_filter check (char_length(trunk_destination_filter) between 1 and 255),
  constraint channel_ip_whitelist check (
    cardinality(trunk_ip_whitelist) between 1 and 64 and array_ndims(trunk_ip_whitelist) = 1
    and array_position(trunk_ip_whitelist, null) is null),
  constraint channel_reference check (char_length(trunk_reference) between 1 and 255),
  constraint channel_ping check (trunk_ping between 1 and 3),
  constraint channel_ringing_timeout check (trunk_ringing_timeout between 1 and 600),
  constraint channel_dtmf check (audio_dtmf between 0 and 255),
  constraint channel_rtp_timeout check (audio_rtp_timeout between 1 and 99999),
  constraint channel_rtp_hold_timeout check (audio_rtp_hold_timeout between 1 and 99999),
  constraint channel_rtp_hold_greater check (audio_rtp_hold_timeout > audio_rtp_timeout),
  constraint channel_clip_method check (clip_method in (0, 1, 2, 3, 5)),
  constraint channel_clip_restrict_value check (char_length(clip_restrict_value) between 1 and 255),
  constraint channel_did_filter check (char_length(did_filter) between 1 and 255),
  constraint channel_forward_to check (failover_forward_to ~ '^\+?[0-9*#]{1,32}$')
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
comment on table siptrunk.channel is
  'Channels with one typed column per setting. Created by the inventory, afterwards changed by the worker alone. NULL: never set, or cleared';
comment on column siptrunk.channel.version is 'Counts edits; a command may say which one it expects';
comment on column siptrunk.channel.password_ciphertext is
  'AES-256-GCM with its tag, under the key password_key_id, bound to account and channel id; the nonce is empty where an installation keeps plain text for a demonstration';
comment on column siptrunk.channel.call_barrings is 'Codes in byte order; NULL, never an empty array, when there are none';
comment on column siptrunk.channel.trunk_ip_whitelist is 'In the order sent; NULL, never an empty array, when there is none';
comment on column siptrunk.channel.trunk_ringing_timeout is 'Seconds';
comment on column siptrunk.channel.audio_rtp_timeout is 'Seconds; NULL: disabled';
comment on column siptrunk.channel.audio_rtp_hold_timeout is 'Seconds, more than audio_rtp_timeout; NULL: disabled';

-- ---------------------------------------------------------------------------------------------------
-- Numbers

create table siptrunk.number (
  account_id  uuid          not null,
  channel_id  bigint,
  e164        siptrunk.e164 not null,
  kind        text          not null,
  state       text          not null,
  number_type text,
  constraint number_pk primary key (e164),
  constraint number_account_fk foreign key (account_id) references siptrunk.account (account_id),
  -- The account is part of the key: a number cannot be put on a channel of somebody else.
  constraint number_channel_fk foreign key (account_id, channel_id)
    references siptrunk.channel (account_id, channel_id),
  constraint number_kind check (kind in ('fixed', 'mobile', 'toll_free', 'other')),
  constraint number_state check (state in ('available', 'reserved', 'porting', 'quarantined', 'in_other_service')),
  constraint number_type_value check (number_type in ('User', 'Resource Account')),
  constraint number_type_needs_channel check (number_type is null or channel_id is not null)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
comment on table siptrunk.number is
  'Telephone numbers. The inventory owns account, kind and state; the worker owns channel_id and number_type. A number with a channel is connected';
-- For reading an account's numbers. Commands change neither of an index's columns, so their updates are HOT.
create index number_account_idx on siptrunk.number (account_id);

-- ---------------------------------------------------------------------------------------------------
-- What has been done

create table siptrunk.command_ledger (
  account_id       uuid    not null,
  command_id       uuid    not null,
  account_sequence bigint  not null,
  applied_at       bigint  not null,
  source_offset    bigint  not null,
  source_timestamp bigint  not null,
  result_schema    bigint  not null,
  source_partition integer not null,
  source_topic     text    not null,
  command_type     text    not null,
  outcome          text    not null,
  error_reason     text,
  batch_id         text,
  mac_key_id       text    not null,
  mac              bytea   not null,
  result           bytea   not null,
  constraint command_ledger_pk primary key (account_id, command_id),
  constraint command_ledger_outcome check (outcome in ('APPLIED', 'NO_CHANGE', 'REJECTED', 'WOULD_APPLY')),
  constraint command_ledger_reason check ((outcome = 'REJECTED') = (error_reason is not null)),
  constraint command_ledger_sequence check (account_sequence >= 0)
) with (toast_tuple_target = 8160, autovacuum_vacuum_insert_scale_factor = 0.05,
        autovacuum_analyze_scale_factor = 0.02);
comment on table siptrunk.command_ledger is
  'Each command once, with the bytes of its result, so that a repeated command is answered and not applied again. No foreign keys: refused commands of unknown accounts stand here too';
comment on column siptrunk.command_ledger.account_sequence is '1, 2, 3, ... in an account; 0 where the account is not known';
comment on column siptrunk.command_ledger.applied_at is 'Microseconds since 1970 UTC';
comment on column siptrunk.command_ledger.source_timestamp is 'Kafka''s timestamp of the command, milliseconds since 1970 UTC';
comment on column siptrunk.command_ledger.mac is 'Keyed hash of the command: tells a resend from another command under the same id';
comment on column siptrunk.command_ledger.result is 'Avro body of the result, without framing';
comment on column siptrunk.command_ledger.result_schema is 'CRC-64-AVRO fingerprint of the schema of result, as a signed number';
-- Bodies stay in the row up to a page and are never compressed: reading or writing one is one page access
-- and no time of the compressor.
alter table siptrunk.command_ledger alter column result set storage external;

create table siptrunk.partition_position (
  topic            text collate "C" not null,
  partition        integer not null,
  consumer_group   text,
  next_offset      bigint  not null,
  committed_offset bigint,
  epoch            bigint  not null default 0,
  owner_instance   text,
  owner_pid        integer,
  owner_started    timestamptz,
  updated_at       timestamptz not null default now(),
  constraint partition_position_pk primary key (topic, partition),
  constraint partition_position_partition check (partition >= 0),
  constraint partition_position_next_offset check (next_offset >= 0),
  constraint partition_position_committed_offset check (committed_offset >= 0),
  constraint partition_position_epoch check (epoch >= 0)
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200,
        autovacuum_vacuum_cost_delay = 0);
comment on table siptrunk.partition_position is
  'How far each partition has been applied, and who owns it: the fence against a worker that lost it';
comment on column siptrunk.partition_position.next_offset is 'First offset whose effects are not stored here';
comment on column siptrunk.partition_position.committed_offset is 'Last offset known to be committed in Kafka; NULL before the first';
comment on column siptrunk.partition_position.epoch is 'Raised by each claim';
comment on column siptrunk.partition_position.owner_pid is 'Backend of the owner, which with owner_started names a session';

create table siptrunk.record_attempt (
  topic     text collate "C" not null,
  partition integer not null,
  "offset"  bigint  not null,
  attempts  integer not null,
  constraint record_attempt_pk primary key (topic, partition),
  constraint record_attempt_offset check ("offset" >= 0),
  constraint record_attempt_attempts check (attempts >= 0)
) with (fillfactor = 50);
comment on table siptrunk.record_attempt is
  'Times that a worker began the record at this offset and died: who kills too often becomes a dead letter';

-- ---------------------------------------------------------------------------------------------------
-- For readers; these three are a contract

create function siptrunk.ip_whitelist_text(entries cidr[]) returns text
  language sql immutable strict parallel safe
  return (select string_agg(case when masklen(entry) = case family(entry) when 4 then 32 else 128 end
                                 then host(entry) else entry::text end, ';' order by place)
          from unnest(entries) with ordinality as item (entry, place));
comment on function siptrunk.ip_whitelist_text(cidr[]) is 'Entries joined by semicolons; /32 and /128 are left out';

create view siptrunk.channel_view as
select account_id, name as channel_name, subscription, version,
  jsonb_build_object(
    'caller_id', caller_id::text,
    'password_set', password_ciphertext is not null,
    'block_caller_id', block_caller_id,
    'area_code', area_code,
    'call_barrings', call_barrings,
    'full_e164', full_e164,
    'sip_trunk', jsonb_build_object(
      'template_id', trunk_template_id,
      'manual_caller_id', trunk_manual_caller_id,
      'forward_clip', trunk_forward_clip,
      't38_codec', trunk_t38_codec,
      'call_forwarding_facilities', trunk_call_forwarding_facilities,
      'destination_filter', trunk_destination_filter,
      'ip_whitelist', siptrunk.ip_whitelist_text(trunk_ip_whitelist),
      'proxy_id', trunk_proxy_id,
      'reference', trunk_reference,
      'ping', trunk_ping,
      'ringing_timeout', trunk_ringing_timeout),
    'audio_stream', jsonb_build_object(
      'dtmf', audio_dtmf,
      'g729_codec', audio_g729_codec,
      'h263_codec', audio_h263_codec,
      'h264_codec', audio_h264_codec,
      'allow_external_rtp', audio_allow_external_rtp,
      'rtp_timeout', audio_rtp_timeout::text,
      'rtp_hold_timeout', audio_rtp_hold_timeout::text,
      'remote_party_id', audio_remote_party_id,
      'progress_inband', audio_progress_inband),
    'clip', jsonb_build_object(
      'ten_digits_length', clip_ten_digits_length,
      'method', clip_method,
      'deny', clip_deny,
      'restrict_value', clip_restrict_value),
    'did', jsonb_build_object(
      'ten_digits_length', did_ten_digits_length,
      'in_display_name', did_in_display_name,
      'to_header', did_to_header,
      'uri_header', did_uri_header,
      'filter', did_filter),
    'failover', jsonb_build_object(
      'forward_to', failover_forward_to,
      'external_caller_id', failover_external_caller_id),
    'microsoft_teams_configuration', jsonb_build_object(
      'microsoft_tenant_id', teams_tenant_id)) as settings
from siptrunk.channel;
comment on view siptrunk.channel_view is
  'Channels with their settings in the layout of the API guide; the password only as set or not';

create view siptrunk.number_view as
select n.e164::text as number, n.account_id, n.kind,
  case when n.channel_id is null then n.state else 'connected' end as state,
  c.name as channel_name, n.number_type
from siptrunk.number n
left join siptrunk.channel c on c.account_id = n.account_id and c.channel_id = n.channel_id;
comment on view siptrunk.number_view is 'Numbers; connected is shown as a state, and is that of a number with a channel';

create view siptrunk.result_view as
select account_id, account_sequence, command_id, command_type, outcome, error_reason, batch_id,
  timestamptz 'epoch' + applied_at * interval '1 microsecond' as applied_at
from siptrunk.command_ledger;
comment on view siptrunk.result_view is 'The ledger without secrets and bodies';

-- migrate:down

drop schema siptrunk cascade;
