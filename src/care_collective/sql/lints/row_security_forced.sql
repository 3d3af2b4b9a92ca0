-- Row security is never forced (rule 6).
-- Forced, it binds the owner too: with no policy every function would find every table empty.
select n.nspname || '.' || c.relname as subject, 'row security is forced on the owner' as found
  from pg_class c
  join pg_namespace n
    on n.oid = c.relnamespace
 where c.relforcerowsecurity
   and (n.nspname = 'care' or (n.nspname = 'public' and c.relowner = to_regrole('care_owner')))
