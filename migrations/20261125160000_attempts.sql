-- migrate:up

-- By these the one who claims a partition knows that the one before died without getting anywhere.
alter table siptrunk.partition_position
  add column owner_process text,
  add column claims_without_progress integer not null default 0,
  add constraint partition_position_claims check (claims_without_progress >= 0);
comment on column siptrunk.partition_position.owner_process is 'Drawn at random by each worker process';
comment on column siptrunk.partition_position.claims_without_progress is
  'Processes that have claimed the partition since something was stored or published, or since one found nothing to do';

-- migrate:down

alter table siptrunk.partition_position
  drop column claims_without_progress,
  drop column owner_process;
