-- What a database holds of this software, a JSON object a thing. The committed catalogue.jsonl is this query's answer
-- on a migrated database; `types` and `doctor --deployed` ask it again. Run it with search_path = pg_catalog, pg_temp,
-- so that every name of ours comes out qualified, and the same from every version of PostgreSQL.
-- $1: names of functions (schema.name) and relations that are ours whoever owns them.
with relations as (
  select c.oid, n.nspname || '.' || c.relname as name, c.relowner, c.relkind, c.relpersistence
    from pg_class c
    join pg_namespace n
      on n.oid = c.relnamespace
   where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'c')
     and (n.nspname = 'care'
      or (n.nspname = 'public' and (c.relowner = to_regrole('care_owner') or n.nspname || '.' || c.relname = any ($1::text[]))))
),
things as (
  select 1 as place, r.name as parent, 0 as position, r.name, jsonb_build_object(
           'kind', 'relation',
           'name', r.name,
           'form', case r.relpersistence when 'p' then '' else 'unlogged ' end || case r.relkind
             when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
             when 'm' then 'materialized view' when 'S' then 'sequence' when 'f' then 'foreign table'
             else 'composite type' end,
           'owner', pg_get_userbyid(r.relowner),
           'definition', case when r.relkind in ('v', 'm') then pg_get_viewdef(r.oid) end,
           'comment', obj_description(r.oid, 'pg_class')) as thing
    from relations r
   union all
  select 1, r.name, 1000 + a.attnum, r.name || '.' || a.attname, jsonb_build_object(
           'kind', 'column',
           'name', r.name || '.' || a.attname,
           'type', format_type(a.atttypid, a.atttypmod)
             || case when a.attcollation <> t.typcollation then ' collate ' || a.attcollation::regcollation else '' end,
           -- From 18 on a `not null` may be there and hold only for new rows.
           'required', a.attnotnull and not exists (
             select 1
               from pg_constraint k
              where k.conrelid = a.attrelid
                and k.contype = 'n'
                and k.conkey = array[a.attnum]
                and not k.convalidated),
           'value', case when a.attgenerated <> '' then 'generated ' when a.attidentity <> '' then 'identity' else '' end
             || coalesce(pg_get_expr(d.adbin, d.adrelid), ''))
    from relations r
    join pg_attribute a
      on a.attrelid = r.oid
     and a.attnum > 0
     and not a.attisdropped
    join pg_type t
      on t.oid = a.atttypid
    left join pg_attrdef d
      on d.adrelid = a.attrelid
     and d.adnum = a.attnum
   where r.relkind <> 'S'
   union all
  select 1, r.name, 3000, r.name || '.' || k.conname, jsonb_build_object(
           'kind', 'constraint',
           'name', r.name || '.' || k.conname,
           'definition', pg_get_constraintdef(k.oid))
    from relations r
    join pg_constraint k
      on k.conrelid = r.oid
   where k.contype in ('p', 'u', 'f', 'c', 'x')
   union all
  select 1, r.name, 4000, r.name || '.' || c.relname, jsonb_build_object(
           'kind', 'index',
           'name', r.name || '.' || c.relname,
           'definition', pg_get_indexdef(i.indexrelid) || case when i.indisvalid and i.indisready then '' else ' (invalid)' end)
    from relations r
    join pg_index i
      on i.indrelid = r.oid
    join pg_class c
      on c.oid = i.indexrelid
   where not exists (
     select 1
       from pg_constraint k
      where k.conindid = i.indexrelid
        and k.contype in ('p', 'u', 'x'))
   union all
  select 2, n.nspname || '.' || p.proname, 0, oidvectortypes(p.proargtypes), jsonb_build_object(
           'kind', 'function',
           'name', n.nspname || '.' || p.proname || '(' || oidvectortypes(p.proargtypes) || ')',
           'arguments', (
             select coalesce(jsonb_agg(jsonb_build_object(
                      'name', p.proargnames[a.place],
                      'type', format_type(a.type, null),
                      'mode', nullif(p.proargmodes[a.place], 'i'),
                      'value', pg_get_function_arg_default(p.oid, a.place::integer)) order by a.place), '[]')
               from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) with ordinality as a (type, place)),
           'result', pg_get_function_result(p.oid),
           'language', l.lanname,
           'owner', pg_get_userbyid(p.proowner),
           'security', case when p.prosecdef then 'definer' else 'invoker' end,
           'volatility', case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
           'parallel', case p.proparallel when 's' then 'safe' when 'r' then 'restricted' else 'unsafe' end,
           'strict', p.proisstrict,
           'leakproof', p.proleakproof,
           'settings', (
             select coalesce(jsonb_object_agg(split_part(s.setting, '=', 1), substr(s.setting, strpos(s.setting, '=') + 1)), '{}')
               from unnest(p.proconfig) as s (setting)),
           'callers', (
             select coalesce(jsonb_agg(c.name order by c.name collate "C"), '[]')
               from (
                 select distinct case when a.grantee = 0 then 'PUBLIC' else pg_get_userbyid(a.grantee)::text end
                        || case when a.is_grantable then ' (may grant)' else '' end as name
                   from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                  where a.grantee <> p.proowner
               ) c),
           'body', p.prosrc,
           'comment', obj_description(p.oid, 'pg_proc'))
    from pg_proc p
    join pg_namespace n
      on n.oid = p.pronamespace
    join pg_language l
      on l.oid = p.prolang
   where n.nspname = 'care'
      or (n.nspname = 'public' and (p.proowner = to_regrole('care_owner') or n.nspname || '.' || p.proname = any ($1::text[])))
)
select t.thing
  from things t
 order by t.place, t.parent collate "C", t.position, t.name collate "C"
