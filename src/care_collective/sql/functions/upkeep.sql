-- What every node does now and then: removes what has been kept for long enough. Never offered to clients.

-- It once answered nothing, and a function's result cannot be replaced.
drop function if exists care.prune();
create or replace function care.prune()
returns integer
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
language plpgsql
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_day_ago timestamptz := v_now - interval '25 hours';
  v_batch constant integer := 10000;
  v_keys integer;
  v_sessions integer;
  v_attempts integer;
begin
  -- A batch of each ends well within the statement's time, whatever has piled up. What another node holds is its to do.
  delete from care.idempotency_keys k
   where k.ctid = any (array(
     select o.ctid
       from care.idempotency_keys o
      where o.created_at < v_day_ago
      order by o.created_at
      limit v_batch
        for no key update skip locked));
  get diagnostics v_keys = row_count;
  delete from care.sessions s
   where s.ctid = any (array(
     select o.ctid
       from care.sessions o
      where o.expires_at < v_now
      order by o.expires_at
      limit v_batch
        for no key update skip locked));
  get diagnostics v_sessions = row_count;
  delete from care.sign_in_attempts a
   where a.ctid = any (array(
     select o.ctid
       from care.sign_in_attempts o
      where o.window_start < v_day_ago
      limit v_batch
        for no key update skip locked));
  get diagnostics v_attempts = row_count;
  return v_keys + v_sessions + v_attempts + care.prune_outcomes() + care.prune_outbox() + care.prune_audit()
    + care.prune_deliveries() + care.prune_notifications();
end
$$;
comment on function care.prune() is
  'Removes a batch of the keys past the 24 hours they are kept, of expired sessions, of old sign-in counts, of old outcomes, of events told a week ago, of old letters, of notifications read 90 days ago, and of the audit log and all notifications after 13 months; how many went. 0: all are gone.';
