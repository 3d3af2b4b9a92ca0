-- Our roles are in no role that can do more than they (rules 2 to 4).
-- A member of care_owner needs no function; a member of pg_read_all_data needs no grant.
select 'role ' || r.rolname as subject, 'is a member of ' || g.rolname as found
  from pg_roles r
  join pg_roles g
    on g.oid <> r.oid
   and (g.rolname in ('care_owner', 'care_app') or g.rolname ~ '^pg_' or g.rolsuper or g.rolbypassrls or g.rolcreaterole)
   and pg_has_role(r.oid, g.oid, 'member')
 where r.rolname in ('anon', 'authenticated', 'service_role', 'care_app', 'care_owner')
   -- a superuser is in every role: role_power says it once
   and not r.rolsuper
   and g.rolname <> 'pg_database_owner'
