-- No API role may make temporary objects in this database, and PUBLIC may not (rule 2).
-- A temporary table or type of a caller's stands before everything else wherever a name is not qualified.
select 'database ' || d.datname as subject,
       case when a.grantee = 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end || ': '
         || string_agg(distinct lower(a.privilege_type), ', ') as found
  from pg_database d
 cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
 where d.datname = current_database()
   and a.privilege_type in ('TEMPORARY', 'CREATE')
   and a.grantee not in (d.datdba, to_regrole('care_owner'))
   and (a.grantee = 0 or exists (
     select 1
       from pg_roles r
      where r.rolname in ('anon', 'authenticated', 'service_role', 'care_app')
        and pg_has_role(r.oid, a.grantee, 'member')))
 group by d.datname, a.grantee
