-- The five roles are there, and care_app's statements end (contract.md section 1, rule 11).
-- statement_timeout works only per login role: without it one slow statement holds its locks for as long as it likes.
select 'role ' || k.name as subject, 'is missing' as found
  from (values ('anon'), ('authenticated'), ('service_role'), ('care_owner'), ('care_app')) as k (name)
 where to_regrole(k.name) is null
 union all
select 'role care_app', 'has no statement_timeout'
 where to_regrole('care_app') is not null
   and not exists (
     select 1
       from pg_db_role_setting s
       join pg_database d
         on d.datname = current_database()
      cross join lateral unnest(s.setconfig) as c (setting)
      where s.setrole = to_regrole('care_app')
        and s.setdatabase in (0, d.oid)
        and c.setting like 'statement\_timeout=%'
        and c.setting <> 'statement_timeout=0')
