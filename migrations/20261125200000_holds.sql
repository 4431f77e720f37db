-- migrate:up

-- An operator's mark on a partition. It stands in the row that every batch locks before anything is stored.
alter table siptrunk.partition_position
  add column held_since timestamptz,
  add column held_reason text,
  add constraint partition_position_held check ((held_since is null) = (held_reason is null)),
  add constraint partition_position_held_reason check (octet_length(held_reason) between 1 and 200);
comment on column siptrunk.partition_position.held_since is
  'Since when an operator holds the partition: nothing of it is taken; NULL: it is not held';
comment on column siptrunk.partition_position.held_reason is 'Why, in the operator''s words';

-- migrate:down

alter table siptrunk.partition_position
  drop column held_reason,
  drop column held_since;
