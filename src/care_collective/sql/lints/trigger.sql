-- No triggers and no rules on tables of ours (rules 13 and 16).
-- A trigger that copied between engines is how an earlier product lost and doubled messages; a distributed engine
-- refuses them.
select n.nspname || '.' || c.relname as subject, 'trigger ' || t.tgname as found
  from pg_trigger t
  join pg_class c
    on c.oid = t.tgrelid
  join pg_namespace n
    on n.oid = c.relnamespace
 where not t.tgisinternal
   and (n.nspname = 'care' or (n.nspname = 'public' and c.relowner = to_regrole('care_owner')))
 union all
select n.nspname || '.' || c.relname, 'rule ' || w.rulename
  from pg_rewrite w
  join pg_class c
    on c.oid = w.ev_class
  join pg_namespace n
    on n.oid = c.relnamespace
 where w.rulename <> '_RETURN'
   and (n.nspname = 'care' or (n.nspname = 'public' and c.relowner = to_regrole('care_owner')))
