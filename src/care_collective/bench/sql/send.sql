-- Writes a message into one of the helper's conversations, in turn.
\set helper 100000000001 + :client_id
\set conversation 400000000000 + (:client_id + 1) * 1000000 + 1 + :i % :each
\set i :i + 1
with request as materialized (
  select set_config('request.jwt.claims', '{"sub":"00000000-0000-4000-8000-' || :helper::text
           || '","role":"authenticated","app_metadata":{"community_id":"00000000-0000-4000-8000-900000000001"}}', true),
         set_config('request.headers', '{"idempotency-key":"' || :run::text || '-' || :client_id::text || '-' || :i::text || '","x-request-id":"00000000000000000000' || :helper::text || '"}', true)
)
select public.send_message_v2(
         p_conversation_id => ('00000000-0000-4000-8000-' || :conversation::text)::uuid,
         p_sender_id => ('00000000-0000-4000-8000-' || :helper::text)::uuid,
         p_content => 'That works for me. Shall we say four in the afternoon?'),
       current_setting('response.headers', true)
  from request;
