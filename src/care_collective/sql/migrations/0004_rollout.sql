-- The flag: its stage, who is in its cohort, every change of it, and what each serving process has in force.
-- Deployment-wide, hence without a community: operators, rollout and ledgers are (contract.md section 2).

create table care.rollout_flags (
  name text not null,
  stage text not null default 'off',
  salt text not null default '',
  stopped text,
  generation bigint not null default 1,
  stage_since timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint rollout_flags_pkey primary key (name),
  constraint rollout_flags_name_check check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint rollout_flags_stopped_check check (stopped in ('killed', 'tripped'))
);
-- The stage has no check: what cannot be read is off and an alarm, wherever it came from (rule 21).
comment on table care.rollout_flags is
  'One row a flag: its stage, and whether it is stopped. Each change raises the generation, one series over all flags.';
insert into care.rollout_flags (name) values ('messaging_v2');

create table care.rollout_cohort (
  flag text not null,
  user_id uuid not null,
  added_by text not null,
  added_at timestamptz not null default now(),
  constraint rollout_cohort_pkey primary key (flag, user_id),
  constraint rollout_cohort_flag_fkey foreign key (flag) references care.rollout_flags (name),
  constraint rollout_cohort_user_fkey foreign key (user_id) references care.users (id)
);
comment on table care.rollout_cohort is
  'Members named as the first to get what a flag opens. Where none is named: coordinators and operators.';

create table care.rollout_changes (
  id uuid not null default gen_random_uuid(),
  flag text not null,
  at timestamptz not null default now(),
  actor text not null,
  actor_id uuid,
  action text not null,
  from_stage text,
  to_stage text,
  why text,
  words text not null,
  numbers jsonb,
  node_id uuid,
  generation bigint,
  told_at timestamptz,
  telling_until timestamptz,
  constraint rollout_changes_pkey primary key (id),
  constraint rollout_changes_flag_fkey foreign key (flag) references care.rollout_flags (name),
  constraint rollout_changes_action_check check (action in (
    'set', 'kill', 'trip', 'warn', 'resume', 'cohort_add', 'cohort_remove', 'rule')),
  constraint rollout_changes_words_check check (care.is_text(words, 1, 1000))
);
create index rollout_changes_flag_idx on care.rollout_changes (flag, at desc);
create index rollout_changes_untold_idx on care.rollout_changes (at)
  where told_at is null and action in ('kill', 'trip', 'warn', 'resume');
comment on table care.rollout_changes is
  'Every change of a flag and every warning: who or which rule, when, why in words, and the numbers that led to it.';

create table care.rollout_nodes (
  node_id uuid not null,
  name text not null,
  release text not null,
  started_at timestamptz not null default now(),
  seen_at timestamptz not null default now(),
  generation bigint not null,
  reached_at timestamptz not null default now(),
  stage text not null,
  source text not null,
  alarm boolean not null default false,
  constraint rollout_nodes_pkey primary key (node_id)
);
comment on table care.rollout_nodes is
  'What each serving process has in force and since when: it says so at its start, at every change and every 2 seconds.';

create table care.audit_log (
  id uuid not null default gen_random_uuid(),
  at timestamptz not null default now(),
  actor_id uuid,
  actor text not null,
  action text not null,
  subject text,
  allowed boolean not null,
  details jsonb not null default '{}',
  constraint audit_log_pkey primary key (id)
);
create index audit_log_at_idx on care.audit_log (at desc);
comment on table care.audit_log is 'What operators did and what was refused them, or somebody in their place.';
