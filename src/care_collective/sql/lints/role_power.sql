-- Our roles have no powers of their own (rule 3).
-- A definer function runs as care_owner: with a superuser's powers a mistake in one function would open the server.
-- A platform's service_role may pass by row security; it holds no right on a table of ours.
select 'role ' || r.rolname as subject, string_agg(p.power, ', ' order by p.power) as found
  from pg_roles r
 cross join lateral (
   values ('superuser', r.rolsuper), ('createrole', r.rolcreaterole), ('createdb', r.rolcreatedb),
          ('replication', r.rolreplication), ('bypassrls', r.rolbypassrls and r.rolname <> 'service_role')
 ) as p (power, held)
 where r.rolname in ('anon', 'authenticated', 'service_role', 'care_app', 'care_owner')
   and p.held
 group by r.rolname
