-- Reads the first page of the helper's inbox.
\set helper 100000000001 + :client_id
with request as materialized (
  select set_config('request.jwt.claims', '{"sub":"00000000-0000-4000-8000-' || :helper::text
           || '","role":"authenticated","app_metadata":{"community_id":"00000000-0000-4000-8000-900000000001"}}', true),
         set_config('request.headers', '{"x-request-id":"00000000000000000000' || :helper::text || '"}', true)
)
select public.list_conversations(p_cursor => null::text, p_limit => 20, p_filter => 'all'),
       current_setting('response.headers', true)
  from request;
