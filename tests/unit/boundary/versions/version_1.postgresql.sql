CREATE TABLE tallystick_effect_intent (
	intent_id VARCHAR(36) NOT NULL, 
	provider VARCHAR(40) NOT NULL, 
	reference VARCHAR(200) NOT NULL, 
	amount_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	request_hash VARCHAR(64) NOT NULL, 
	captured_minor BIGINT DEFAULT '0' NOT NULL, 
	created_at_ms BIGINT NOT NULL, 
	PRIMARY KEY (intent_id), 
	CONSTRAINT tallystick_effect_intent_positive CHECK (amount_minor > 0), 
	CONSTRAINT tallystick_effect_captured CHECK (captured_minor >= 0 AND captured_minor <= amount_minor)
);
CREATE TABLE tallystick_inbox (
	scope VARCHAR(200) NOT NULL, 
	event_id VARCHAR(36) NOT NULL, 
	body_hash VARCHAR(64) NOT NULL, 
	outputs BYTEA, 
	topic VARCHAR(249), 
	partition INTEGER, 
	record_offset BIGINT, 
	replays INTEGER DEFAULT '0' NOT NULL, 
	duplicates INTEGER DEFAULT '0' NOT NULL, 
	created_at_ms BIGINT NOT NULL, 
	CONSTRAINT tallystick_inbox_pk PRIMARY KEY (scope, event_id)
);
CREATE TABLE tallystick_inbox_conflict (
	scope VARCHAR(200) NOT NULL, 
	event_id VARCHAR(36) NOT NULL, 
	body_hash VARCHAR(64) NOT NULL, 
	first_body_hash VARCHAR(64) NOT NULL, 
	body BYTEA, 
	topic VARCHAR(249), 
	partition INTEGER, 
	record_offset BIGINT, 
	times_seen INTEGER NOT NULL, 
	first_seen_at_ms BIGINT NOT NULL, 
	CONSTRAINT tallystick_inbox_conflict_pk PRIMARY KEY (scope, event_id, body_hash)
);
CREATE TABLE tallystick_outbox (
	sequence BIGSERIAL NOT NULL, 
	event_id VARCHAR(36) NOT NULL, 
	topic VARCHAR(249) NOT NULL, 
	record_key BYTEA, 
	record_value BYTEA, 
	headers BYTEA, 
	partition INTEGER, 
	timestamp_ms BIGINT, 
	created_at_ms BIGINT NOT NULL, 
	published_at_ms BIGINT, 
	PRIMARY KEY (sequence), 
	UNIQUE (event_id)
);
CREATE INDEX tallystick_outbox_unpublished ON tallystick_outbox (sequence) WHERE published_at_ms IS NULL;
CREATE TABLE tallystick_owner_epoch (
	owner_key VARCHAR(300) NOT NULL, 
	epoch BIGINT NOT NULL, 
	PRIMARY KEY (owner_key)
);
CREATE TABLE tallystick_schema_version (
	component VARCHAR(40) NOT NULL, 
	version INTEGER NOT NULL, 
	PRIMARY KEY (component)
);
CREATE TABLE tallystick_secret (
	name VARCHAR(40) NOT NULL, 
	value BYTEA NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE tallystick_effect_attempt (
	attempt_id VARCHAR(36) NOT NULL, 
	intent_id VARCHAR(36) NOT NULL, 
	attempt_number INTEGER NOT NULL, 
	provider VARCHAR(40) NOT NULL, 
	reference VARCHAR(200) NOT NULL, 
	amount_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	provider_key VARCHAR(64) NOT NULL, 
	request BYTEA NOT NULL, 
	request_hash VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	fencing_token BIGINT DEFAULT '0' NOT NULL, 
	lease_owner VARCHAR(200), 
	lease_until_ms BIGINT DEFAULT '0' NOT NULL, 
	not_before_ms BIGINT DEFAULT '0' NOT NULL, 
	times_sent INTEGER DEFAULT '0' NOT NULL, 
	first_sent_at_ms BIGINT, 
	last_sent_at_ms BIGINT, 
	window_ms BIGINT, 
	resend_until_ms BIGINT, 
	provider_object_id VARCHAR(200), 
	captured_minor BIGINT, 
	fee_minor BIGINT, 
	outcome_code VARCHAR(100), 
	response_status INTEGER, 
	response BYTEA, 
	created_at_ms BIGINT NOT NULL, 
	settled_at_ms BIGINT, 
	PRIMARY KEY (attempt_id), 
	CONSTRAINT tallystick_effect_attempt_number UNIQUE (intent_id, attempt_number), 
	CONSTRAINT tallystick_effect_attempt_key UNIQUE (provider, provider_key), 
	CONSTRAINT tallystick_effect_attempt_object UNIQUE (provider, provider_object_id), 
	CONSTRAINT tallystick_effect_attempt_state CHECK (state IN ('CREATED', 'CLAIMED', 'SENT', 'SUCCEEDED', 'DECLINED', 'PENDING_ACTION', 'UNKNOWN', 'RESOLVING', 'ABSENT_CONFIRMED')), 
	CONSTRAINT tallystick_effect_attempt_sent CHECK (state IN ('CREATED', 'CLAIMED') OR (first_sent_at_ms IS NOT NULL AND window_ms IS NOT NULL AND resend_until_ms IS NOT NULL)), 
	CONSTRAINT tallystick_effect_attempt_succeeded CHECK (state <> 'SUCCEEDED' OR (provider_object_id IS NOT NULL AND captured_minor IS NOT NULL)), 
	CONSTRAINT tallystick_effect_attempt_captured CHECK (captured_minor IS NULL OR (captured_minor >= 0 AND captured_minor <= amount_minor)), 
	FOREIGN KEY(intent_id) REFERENCES tallystick_effect_intent (intent_id)
);
CREATE INDEX tallystick_effect_attempt_due ON tallystick_effect_attempt (provider, state, created_at_ms) WHERE state IN ('CREATED', 'CLAIMED', 'SENT', 'PENDING_ACTION', 'UNKNOWN', 'RESOLVING');
CREATE UNIQUE INDEX tallystick_effect_attempt_open ON tallystick_effect_attempt (intent_id) WHERE state IN ('CREATED', 'CLAIMED', 'SENT', 'PENDING_ACTION', 'UNKNOWN', 'RESOLVING');
CREATE TABLE tallystick_effect_suspense (
	provider VARCHAR(40) NOT NULL, 
	provider_object_id VARCHAR(200) NOT NULL, 
	attempt_id VARCHAR(36) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	amount_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	response BYTEA, 
	created_at_ms BIGINT NOT NULL, 
	CONSTRAINT tallystick_effect_suspense_pk PRIMARY KEY (provider, provider_object_id), 
	FOREIGN KEY(attempt_id) REFERENCES tallystick_effect_attempt (attempt_id)
);
INSERT INTO tallystick_schema_version VALUES ('boundary', 1);
