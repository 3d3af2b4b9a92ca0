-- What the guard keeps between two looks: rules that were changed, the detector, warnings under way, the probe, the
-- check of rows. Rollout tables (contract.md section 2): without a community.

create table care.rollout_rules (
  flag text not null,
  rule text not null,
  thresholds jsonb not null default '{}',
  dry_run boolean not null default false,
  updated_at timestamptz not null default now(),
  updated_by text not null,
  constraint rollout_rules_pkey primary key (flag, rule),
  constraint rollout_rules_flag_fkey foreign key (flag) references care.rollout_flags (name),
  constraint rollout_rules_thresholds_check check (jsonb_typeof(thresholds) = 'object')
);
comment on table care.rollout_rules is
  'What operators changed of the guard''s rules; all else is as the release has it (rollout/guard/rules.py).';

create table care.rollout_detectors (
  flag text not null,
  version text not null,
  levels double precision[] not null,
  judged bigint not null,
  rise jsonb not null,
  since timestamptz,
  generation bigint not null,
  updated_at timestamptz not null default now(),
  constraint rollout_detectors_pkey primary key (flag, version),
  constraint rollout_detectors_flag_fkey foreign key (flag) references care.rollout_flags (name),
  constraint rollout_detectors_version_check check (version in ('v1', 'v2'))
);
comment on table care.rollout_detectors is
  'The detector''s levels after so many attempts since the flag was last resumed. Who stores names the generation they read.';

create table care.rollout_episodes (
  flag text not null,
  rule text not null,
  began_at timestamptz not null,
  seen_at timestamptz not null,
  constraint rollout_episodes_pkey primary key (flag, rule),
  constraint rollout_episodes_flag_fkey foreign key (flag) references care.rollout_flags (name)
);
comment on table care.rollout_episodes is 'Warnings and when each was last seen to hold: each is told once an episode.';

create table care.rollout_probes (
  flag text not null,
  due_at timestamptz not null,
  node_id uuid,
  probed_at timestamptz,
  v2_alone integer not null default 0,
  v1_too integer not null default 0,
  code text,
  constraint rollout_probes_pkey primary key (flag),
  constraint rollout_probes_flag_fkey foreign key (flag) references care.rollout_flags (name)
);
comment on table care.rollout_probes is 'When the probe is due, which node took it last, and how often running it failed.';
insert into care.rollout_probes (flag, due_at) values ('messaging_v2', now());

create table care.rollout_checks (
  flag text not null,
  due_at timestamptz not null,
  looked_until timestamptz not null,
  place_community uuid,
  place uuid,
  suspect_communities uuid[] not null default '{}',
  suspects uuid[] not null default '{}',
  found integer not null default 0,
  detail text,
  constraint rollout_checks_pkey primary key (flag),
  constraint rollout_checks_flag_fkey foreign key (flag) references care.rollout_flags (name)
);
comment on table care.rollout_checks is
  'How far the rows of V2 have been checked for violations, by what was written lately and all in turn, and what was found.';
insert into care.rollout_checks (flag, due_at, looked_until) values ('messaging_v2', now(), now());

-- Telling a change is told by channel: what one channel has, the retry of another does not send again.
alter table care.rollout_changes add column told_by text[] not null default '{}';
alter table care.rollout_changes add column tries integer not null default 0;

-- The newest attempts of one engine, every few seconds.
create index engine_outcomes_version_idx on care.engine_outcomes (version, opened_at);
-- What was written in the last seconds. A block range index costs a write next to nothing, and the outbox grows at its end.
create index outbox_created_idx on care.outbox using brin (created_at) with (pages_per_range = 16, autosummarize = on);
