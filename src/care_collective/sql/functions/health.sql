-- What the web process may know of the database's state. Numbers and versions, nothing a member wrote.

create or replace function care.health()
returns jsonb
stable
security definer
set search_path = pg_catalog, pg_temp
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  return jsonb_build_object(
    'migrations', (select jsonb_agg(jsonb_build_object(
                            'version', m.version, 'checksum', m.checksum, 'incompatible', m.incompatible)
                          order by m.version)
                     from care.schema_migrations m),
    'functions', (select jsonb_object_agg(f.room, f.checksum) from care.schema_functions f),
    -- The last writer is the newest release: an older one does not write (db/migrate.py).
    'release', (select f.release from care.schema_functions f order by f.applied_at desc, f.room limit 1),
    'server_version', current_setting('server_version_num')::integer,
    'outbox_lag_seconds', (select coalesce(extract(epoch from v_now - min(o.created_at)), 0)
                             from care.outbox o where o.published_at is null),
    'letters', care.letter_counts(),
    'guard', jsonb_build_object('level', care.guard_level('messaging_v2'))
             || (care.checked_violations('messaging_v2') - 'violation'));
end
$$;
comment on function care.health() is 'The ledger of migrations and functions, the server''s version, how far the outbox is behind, how letters stand and what the guard found.';
