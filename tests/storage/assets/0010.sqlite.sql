BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'first');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'block_size',96.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 16, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(2,2,'block_size',112.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 16, "low": 16, "high": 128}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,96.0,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,112.0,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-24 00:28:37.256187','2026-11-24 00:28:37.352714');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-24 00:28:37.367132','2026-11-24 00:28:37.396090');
CREATE TABLE tuner_alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT tuner_alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "tuner_alembic_version" VALUES('0010');
CREATE TABLE tuner_api_tokens (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	scopes JSON NOT NULL, 
	created_at FLOAT NOT NULL, 
	expires_at FLOAT, 
	revoked_at FLOAT, 
	CONSTRAINT ck_tuner_api_tokens_name_length CHECK (length(name) BETWEEN 1 AND 255), 
	CONSTRAINT ck_tuner_api_tokens_digest_is_sha256 CHECK (length(digest) = 64), 
	CONSTRAINT uq_tuner_api_tokens_key UNIQUE ("key")
);
INSERT INTO "tuner_api_tokens" VALUES(1,'ci','k1','0000000000000000000000000000000000000000000000000000000000000000','["read","publish"]',1.79549220350704288482e+09,NULL,1.0);
INSERT INTO "tuner_api_tokens" VALUES(2,'ci','k2','0000000000000000000000000000000000000000000000000000000000000000','["read","publish"]',1.79549220353686761857e+09,NULL,NULL);
CREATE TABLE tuner_audit (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	action TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	request_id TEXT, 
	detail TEXT NOT NULL, 
	CONSTRAINT ck_tuner_audit_actor_given CHECK (actor <> ''), 
	CONSTRAINT ck_tuner_audit_kind_known CHECK (kind IN ('recommendation', 'study', 'token'))
);
INSERT INTO "tuner_audit" VALUES(1,1.79549220351371264462e+09,'anna','token.create','token','ci','measured again','req-1','');
INSERT INTO "tuner_audit" VALUES(2,1.79549220353771543504e+09,'anna','token.rotate','token','ci','measured again','req-1','');
INSERT INTO "tuner_audit" VALUES(3,1795492203.54,'anna','tag','study','1','measured again','req-1','none -> chat');
CREATE TABLE tuner_capacity_runs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	model TEXT NOT NULL, 
	workload_hash TEXT NOT NULL, 
	launcher TEXT NOT NULL, 
	slos JSON NOT NULL, 
	question JSON NOT NULL, 
	requested JSON NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	environment TEXT, 
	effective JSON NOT NULL, 
	edge FLOAT, 
	low FLOAT, 
	high FLOAT, 
	reason TEXT, 
	created_at FLOAT NOT NULL, 
	finished_at FLOAT, 
	CONSTRAINT ck_tuner_capacity_runs_state_known CHECK (state IN ('running', 'found', 'none', 'at_least', 'interrupted', 'fail')), 
	CONSTRAINT ck_tuner_capacity_runs_found_has_interval CHECK (state <> 'found' OR (edge IS NOT NULL AND low IS NOT NULL AND high IS NOT NULL)), 
	CONSTRAINT ck_tuner_capacity_runs_finite CHECK (edge >= 0 AND edge < 1e308 AND low >= 0 AND low < 1e308 AND high >= 0 AND high < 1e308), 
	CONSTRAINT fk_tuner_capacity_runs_environment FOREIGN KEY(environment) REFERENCES tuner_environments (fingerprint), 
	CONSTRAINT fk_tuner_capacity_runs_workload_hash FOREIGN KEY(workload_hash) REFERENCES tuner_workloads (content_hash)
);
INSERT INTO "tuner_capacity_runs" VALUES(1,'tiny-qwen3','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','local','["ttft_p99_ms<=500"]','{}','{"block_size":32}','found','eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','{}',4.0,3.5,4.5,NULL,1000.0,1100.0);
CREATE TABLE tuner_capacity_windows (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	run_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	load FLOAT NOT NULL, 
	started_at FLOAT NOT NULL, 
	duration_s FLOAT NOT NULL, 
	held BOOLEAN NOT NULL, 
	metrics JSON NOT NULL, 
	readings JSON NOT NULL, 
	invalid_reason TEXT, 
	details JSON NOT NULL, 
	CONSTRAINT ck_tuner_capacity_windows_number_counted CHECK (number >= 0), 
	CONSTRAINT ck_tuner_capacity_windows_held_is_valid CHECK (NOT held OR invalid_reason IS NULL), 
	CONSTRAINT ck_tuner_capacity_windows_finite CHECK (load >= 0 AND load < 1e308 AND duration_s >= 0 AND duration_s < 1e308), 
	CONSTRAINT fk_tuner_capacity_windows_run_id FOREIGN KEY(run_id) REFERENCES tuner_capacity_runs (id) ON DELETE CASCADE, 
	CONSTRAINT uq_tuner_capacity_windows_run_id_number UNIQUE (run_id, number)
);
INSERT INTO "tuner_capacity_windows" VALUES(1,1,0,4.0,1000.0,30.0,1,'{"ttft_p99_ms":412.5}','{"keeps_up":{"held":true}}',NULL,'{}');
CREATE TABLE tuner_comparisons (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	study_id INTEGER NOT NULL, 
	metric TEXT NOT NULL, 
	block_size INTEGER NOT NULL, 
	max_num_batched_tokens INTEGER NOT NULL, 
	verdict TEXT NOT NULL, 
	pairs INTEGER NOT NULL, 
	ratio FLOAT, 
	low FLOAT, 
	high FLOAT, 
	baseline_trial_id INTEGER, 
	candidate_trial_id INTEGER, 
	details JSON NOT NULL, 
	created_at FLOAT NOT NULL, factors JSON, 
	CONSTRAINT ck_tuner_comparisons_verdict_has_interval CHECK (verdict = 'inconclusive' OR (ratio IS NOT NULL AND low IS NOT NULL AND high IS NOT NULL)), 
	CONSTRAINT ck_tuner_comparisons_verdict_known CHECK (verdict IN ('better', 'worse', 'equivalent', 'inconclusive')), 
	CONSTRAINT ck_tuner_comparisons_pairs_counted CHECK (pairs >= 0), 
	CONSTRAINT ck_tuner_comparisons_finite CHECK (ratio >= 0 AND ratio < 1e308 AND low >= 0 AND low < 1e308 AND high >= 0 AND high < 1e308), 
	CONSTRAINT fk_tuner_comparisons_baseline_trial_id FOREIGN KEY(baseline_trial_id) REFERENCES tuner_trials (id) ON DELETE CASCADE, 
	CONSTRAINT fk_tuner_comparisons_candidate_trial_id FOREIGN KEY(candidate_trial_id) REFERENCES tuner_trials (id) ON DELETE CASCADE, 
	CONSTRAINT fk_tuner_comparisons_study_id FOREIGN KEY(study_id) REFERENCES tuner_studies (id) ON DELETE CASCADE
);
INSERT INTO "tuner_comparisons" VALUES(1,1,'step_time',32,256,'better',8,1.05,1.03,1.07,1,2,'{}',1.79548011543629431729e+09,'{"max_num_seqs":16}');
CREATE TABLE tuner_environments (
	fingerprint TEXT NOT NULL, 
	platform TEXT NOT NULL, 
	accelerator TEXT NOT NULL, 
	device_count INTEGER NOT NULL, 
	versions JSON NOT NULL, 
	details JSON NOT NULL, 
	CONSTRAINT pk_tuner_environments PRIMARY KEY (fingerprint), 
	CONSTRAINT ck_tuner_environments_fingerprint_given CHECK (fingerprint <> ''), 
	CONSTRAINT ck_tuner_environments_device_count_positive CHECK (device_count >= 1)
);
INSERT INTO "tuner_environments" VALUES('eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','cpu','cpu x86_64',1,'{"jax":"0.11.2"}','{}');
CREATE TABLE tuner_fleet_workers (
	name TEXT NOT NULL, 
	host TEXT NOT NULL, 
	accelerator TEXT NOT NULL, 
	chips INTEGER NOT NULL, 
	versions JSON NOT NULL, 
	state TEXT NOT NULL, 
	submission_id INTEGER, 
	started_at FLOAT NOT NULL, 
	seen_at FLOAT NOT NULL, 
	CONSTRAINT pk_tuner_fleet_workers PRIMARY KEY (name), 
	CONSTRAINT ck_tuner_fleet_workers_state_known CHECK (state IN ('idle', 'running', 'draining')), 
	CONSTRAINT ck_tuner_fleet_workers_name_given CHECK (name <> '' AND chips >= 0)
);
CREATE TABLE tuner_foresight (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	"key" TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	model TEXT NOT NULL, 
	accelerator TEXT NOT NULL, 
	device_count INTEGER NOT NULL, 
	question JSON NOT NULL, 
	answer JSON NOT NULL, 
	created_at FLOAT NOT NULL, 
	CONSTRAINT ck_tuner_foresight_key_is_sha256 CHECK (length(key) = 64), 
	CONSTRAINT ck_tuner_foresight_device_count_positive CHECK (device_count >= 1), 
	CONSTRAINT ck_tuner_foresight_kind_known CHECK (kind IN ('engine', 'program', 'configuration')), 
	CONSTRAINT uq_tuner_foresight_key UNIQUE ("key")
);
INSERT INTO "tuner_foresight" VALUES(1,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','configuration','tiny-qwen3','TPU v6e',1,'{"format":1}','{"block_size":32}',1.79548011531034708027e+09);
CREATE TABLE tuner_group_claims (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	study_id INTEGER NOT NULL, 
	group_key TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	worker TEXT NOT NULL, 
	claim_token TEXT NOT NULL, 
	heartbeat_at FLOAT NOT NULL, 
	lease_until FLOAT NOT NULL, 
	attempts INTEGER NOT NULL, 
	CONSTRAINT ck_tuner_group_claims_state_known CHECK (state IN ('CLAIMED', 'DONE')), 
	CONSTRAINT ck_tuner_group_claims_holder_given CHECK (worker <> '' AND claim_token <> ''), 
	CONSTRAINT ck_tuner_group_claims_finite CHECK (heartbeat_at >= 0 AND heartbeat_at < 1e308 AND lease_until >= 0 AND lease_until < 1e308), 
	CONSTRAINT fk_tuner_group_claims_study_id FOREIGN KEY(study_id) REFERENCES tuner_studies (id) ON DELETE CASCADE, 
	CONSTRAINT uq_tuner_group_claims_study_id_group_key UNIQUE (study_id, group_key)
);
CREATE TABLE tuner_leases (
	study_id INTEGER NOT NULL, 
	token TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	host TEXT NOT NULL, 
	process_started_at FLOAT NOT NULL, 
	heartbeat FLOAT NOT NULL, 
	CONSTRAINT pk_tuner_leases PRIMARY KEY (study_id), 
	CONSTRAINT ck_tuner_leases_token_given CHECK (token <> ''), 
	CONSTRAINT fk_tuner_leases_study_id FOREIGN KEY(study_id) REFERENCES tuner_studies (id) ON DELETE CASCADE
);
INSERT INTO "tuner_leases" VALUES(1,'gone',4242,'a-machine-that-is-gone',1764000000.0,1764000100.0);
CREATE TABLE tuner_measurements (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	trial_id INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	started_at FLOAT NOT NULL, 
	duration_s FLOAT NOT NULL, 
	metrics JSON NOT NULL, 
	valid BOOLEAN NOT NULL, 
	invalid_reason TEXT, 
	details JSON NOT NULL, 
	CONSTRAINT ck_tuner_measurements_invalid_reason_given CHECK (invalid_reason <> ''), 
	CONSTRAINT ck_tuner_measurements_finite CHECK (duration_s >= 0 AND duration_s < 1e308), 
	CONSTRAINT ck_tuner_measurements_order_counted CHECK (round >= 0 AND position >= 0), 
	CONSTRAINT ck_tuner_measurements_invalid_has_reason CHECK (valid = (invalid_reason IS NULL)), 
	CONSTRAINT fk_tuner_measurements_trial_id FOREIGN KEY(trial_id) REFERENCES tuner_trials (id) ON DELETE CASCADE
);
INSERT INTO "tuner_measurements" VALUES(1,1,0,0,1000.0,0.5,'{"ttft_p99_ms":12.5}',1,NULL,'{}');
INSERT INTO "tuner_measurements" VALUES(2,1,1,0,1000.0,0.5,'{"ttft_p99_ms":12.5}',0,'recompiled','{}');
CREATE TABLE tuner_profiles (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	trial_id INTEGER NOT NULL, 
	logdir TEXT NOT NULL, 
	run TEXT NOT NULL, 
	session TEXT NOT NULL, 
	host TEXT NOT NULL, 
	phase TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	created_at FLOAT NOT NULL, 
	status TEXT NOT NULL, 
	quality JSON NOT NULL, 
	summary JSON NOT NULL, 
	CONSTRAINT ck_tuner_profiles_phase_known CHECK (phase IN ('all', 'prefill', 'decode', 'mixed')), 
	CONSTRAINT ck_tuner_profiles_status_known CHECK (status IN ('ok', 'bad', 'missing')), 
	CONSTRAINT ck_tuner_profiles_size_counted CHECK (size_bytes >= 0), 
	CONSTRAINT fk_tuner_profiles_trial_id FOREIGN KEY(trial_id) REFERENCES tuner_trials (id) ON DELETE CASCADE, 
	CONSTRAINT uq_tuner_profiles_identity UNIQUE (trial_id, logdir, run, session, host, phase)
);
INSERT INTO "tuner_profiles" VALUES(1,1,'tuner-profiles','first/trial-0','s1','h','all',5368709120,1.795480115424282074e+09,'ok','{}','{}');
CREATE TABLE tuner_quarantines (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	host TEXT NOT NULL, 
	"by" TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	since FLOAT NOT NULL, 
	details JSON NOT NULL, 
	released_at FLOAT, 
	released_by TEXT, 
	release_reason TEXT, 
	CONSTRAINT ck_tuner_quarantines_names_given CHECK (host <> '' AND by <> ''), 
	CONSTRAINT ck_tuner_quarantines_released_by_somebody CHECK ((released_at IS NULL) = (released_by IS NULL))
);
INSERT INTO "tuner_quarantines" VALUES(1,'tpu-vm-7','worker-1','its default arm measures -12.0 % beside its peers (-14.1 % to -9.8 %)',1790000000.0,'{"ratio": 0.88, "low": 0.859, "high": 0.902, "starts": 6, "peers": 2}',1790003600.0,'cli:ada','new fan');
INSERT INTO "tuner_quarantines" VALUES(2,'tpu-vm-8','cli:ada','put there by hand',1790007200.0,'{}',NULL,NULL,NULL);
CREATE TABLE tuner_recommendations (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	study_id INTEGER NOT NULL, 
	status TEXT NOT NULL, 
	model TEXT NOT NULL, 
	accelerator TEXT NOT NULL, 
	device_count INTEGER NOT NULL, 
	workload_hash TEXT NOT NULL, 
	objective TEXT NOT NULL, 
	body JSON NOT NULL, 
	created_at FLOAT NOT NULL, 
	published_at FLOAT, 
	withdrawn_at FLOAT, 
	CONSTRAINT ck_tuner_recommendations_status_known CHECK (status IN ('recommended', 'default', 'none')), 
	CONSTRAINT ck_tuner_recommendations_device_count_positive CHECK (device_count >= 1), 
	CONSTRAINT fk_tuner_recommendations_study_id FOREIGN KEY(study_id) REFERENCES tuner_studies (id) ON DELETE CASCADE, 
	CONSTRAINT fk_tuner_recommendations_workload_hash FOREIGN KEY(workload_hash) REFERENCES tuner_workloads (content_hash)
);
INSERT INTO "tuner_recommendations" VALUES(1,1,'recommended','tiny-qwen3','cpu x86_64',1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','output_token_throughput','{"vllm_args":["--block-size","32"]}',1.79548011545648527145e+09,1.79548011546988701817e+09,NULL);
CREATE TABLE tuner_studies (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	model TEXT NOT NULL, 
	config JSON NOT NULL, 
	objective TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	model_features JSON NOT NULL, 
	created_at FLOAT NOT NULL, 
	updated_at FLOAT NOT NULL, 
	engine_starts INTEGER NOT NULL, 
	cost JSON NOT NULL, tags JSON, archived_at FLOAT, 
	CONSTRAINT ck_tuner_studies_state_known CHECK (state IN ('RUNNING', 'COMPLETE', 'INTERRUPTED', 'FAIL')), 
	CONSTRAINT ck_tuner_studies_engine_starts_counted CHECK (engine_starts >= 0), 
	CONSTRAINT ck_tuner_studies_name_length CHECK (length(name) BETWEEN 1 AND 255), 
	CONSTRAINT uq_tuner_studies_name UNIQUE (name)
);
INSERT INTO "tuner_studies" VALUES(1,'first','tiny-qwen3','{"trials":4}','output_token_throughput','RUNNING','{}',1795400000.0,1.79548011523236513134e+09,0,'{}','["chat"]',NULL);
CREATE TABLE tuner_submission_events (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	submission_id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	what VARCHAR(16) NOT NULL, 
	"by" TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT ck_tuner_submission_events_what_known CHECK (what IN ('QUEUED', 'RUNNING', 'CANCELLING', 'COMPLETE', 'FAILED', 'CANCELLED')), 
	CONSTRAINT fk_tuner_submission_events_submission_id FOREIGN KEY(submission_id) REFERENCES tuner_submissions (id) ON DELETE CASCADE
);
INSERT INTO "tuner_submission_events" VALUES(1,1,1764000020.0,'COMPLETE','w1','');
CREATE TABLE tuner_submissions (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	study TEXT NOT NULL, 
	config JSON NOT NULL, 
	submitted_by TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	priority INTEGER NOT NULL, 
	team TEXT, 
	requirements JSON NOT NULL, 
	webhook TEXT, 
	submitted_at FLOAT NOT NULL, 
	claimed_by TEXT, 
	claim_token TEXT, 
	heartbeat_at FLOAT, 
	lease_until FLOAT, 
	attempts INTEGER NOT NULL, 
	reason TEXT, 
	finished_at FLOAT, 
	notified_event INTEGER NOT NULL, workers INTEGER DEFAULT 1 NOT NULL, 
	CONSTRAINT ck_tuner_submissions_state_known CHECK (state IN ('QUEUED', 'RUNNING', 'CANCELLING', 'COMPLETE', 'FAILED', 'CANCELLED')), 
	CONSTRAINT ck_tuner_submissions_study_length CHECK (length(study) BETWEEN 1 AND 255), 
	CONSTRAINT ck_tuner_submissions_names_given CHECK (submitted_by <> '' AND team <> ''), 
	CONSTRAINT ck_tuner_submissions_attempts_counted CHECK (attempts >= 0), 
	CONSTRAINT ck_tuner_submissions_held_while_it_runs CHECK ((state IN ('RUNNING', 'CANCELLING')) = (claim_token IS NOT NULL) AND (claim_token IS NULL) = (lease_until IS NULL) AND (claim_token IS NULL OR claimed_by IS NOT NULL)), 
	CONSTRAINT ck_tuner_submissions_finished_has_time CHECK ((state IN ('COMPLETE', 'FAILED', 'CANCELLED')) = (finished_at IS NOT NULL))
);
INSERT INTO "tuner_submissions" VALUES(1,'first','{"model":"tiny-qwen3"}','anna','COMPLETE',0,'chat','{"chips":1}',NULL,1764000000.0,'w1',NULL,1764000010.0,NULL,1,NULL,1764000020.0,1,1);
CREATE TABLE tuner_team_limits (
	team TEXT NOT NULL, 
	studies INTEGER NOT NULL, 
	CONSTRAINT pk_tuner_team_limits PRIMARY KEY (team), 
	CONSTRAINT ck_tuner_team_limits_team_given CHECK (team <> '' AND studies >= 0)
);
CREATE TABLE tuner_trials (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	study_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	arm TEXT NOT NULL, 
	block_size INTEGER NOT NULL, 
	max_num_batched_tokens INTEGER NOT NULL, 
	requested JSON NOT NULL, 
	workload_hash TEXT NOT NULL, 
	stage VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	effective JSON NOT NULL, 
	environment TEXT, 
	optuna_trial_id INTEGER, 
	objective_values JSON, 
	error_class TEXT, 
	error_message TEXT, 
	log_excerpt TEXT, 
	created_at FLOAT NOT NULL, 
	started_at FLOAT, 
	finished_at FLOAT, 
	notes JSON NOT NULL, factors JSON, 
	CONSTRAINT ck_tuner_trials_results_only_when_finished CHECK ((state IN ('COMPLETE', 'PRUNED', 'FAIL') AND finished_at IS NOT NULL) OR (state IN ('WAITING', 'RUNNING') AND finished_at IS NULL AND objective_values IS NULL)), 
	CONSTRAINT ck_tuner_trials_arm_known CHECK (arm IN ('default', 'page_aligned')), 
	CONSTRAINT ck_tuner_trials_error_class_means_failed CHECK (error_class IS NULL OR state IN ('FAIL', 'PRUNED')), 
	CONSTRAINT ck_tuner_trials_stage_known CHECK (stage IN ('search', 'confirm')), 
	CONSTRAINT ck_tuner_trials_complete_has_values CHECK (state <> 'COMPLETE' OR (objective_values IS NOT NULL AND CAST(objective_values AS TEXT) <> '{}')), 
	CONSTRAINT ck_tuner_trials_fail_has_no_values CHECK (state <> 'FAIL' OR (objective_values IS NULL AND error_class IS NOT NULL AND error_class <> '')), 
	CONSTRAINT ck_tuner_trials_state_known CHECK (state IN ('WAITING', 'RUNNING', 'COMPLETE', 'PRUNED', 'FAIL')), 
	CONSTRAINT ck_tuner_trials_sizes_positive CHECK (block_size >= 1 AND max_num_batched_tokens >= 1), 
	CONSTRAINT ck_tuner_trials_number_counted CHECK (number >= 0), 
	CONSTRAINT ck_tuner_trials_values_finite CHECK (objective_values IS NULL OR json_valid(objective_values)), 
	CONSTRAINT fk_tuner_trials_environment FOREIGN KEY(environment) REFERENCES tuner_environments (fingerprint), 
	CONSTRAINT fk_tuner_trials_study_id FOREIGN KEY(study_id) REFERENCES tuner_studies (id) ON DELETE CASCADE, 
	CONSTRAINT fk_tuner_trials_workload_hash FOREIGN KEY(workload_hash) REFERENCES tuner_workloads (content_hash), 
	CONSTRAINT uq_tuner_trials_study_id_number UNIQUE (study_id, number)
);
INSERT INTO "tuner_trials" VALUES(1,1,0,'default',32,256,'{"block_size":32}','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','search','COMPLETE','{"block_size":32}','eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee',NULL,'{"output_token_throughput":123.5}',NULL,NULL,NULL,1795400001.0,1.79548011535485458377e+09,1.79548011540116691587e+09,'{}','{"max_num_seqs":16}');
INSERT INTO "tuner_trials" VALUES(2,1,1,'page_aligned',32,256,'{"block_size":32}','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','search','FAIL','{}',NULL,1,NULL,'out_of_memory','HBM is full','line 1
line 2',1.79548011533222556116e+09,NULL,1.7954801154134538174e+09,'{}',NULL);
INSERT INTO "tuner_trials" VALUES(3,1,2,'default',32,256,'{"block_size":32}','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','search','RUNNING','{}',NULL,NULL,NULL,NULL,NULL,NULL,1.79548011534031558039e+09,1.79548011534031772612e+09,NULL,'{}',NULL);
CREATE TABLE tuner_workloads (
	content_hash TEXT NOT NULL, 
	name TEXT NOT NULL, 
	spec JSON NOT NULL, 
	summary JSON NOT NULL, 
	CONSTRAINT pk_tuner_workloads PRIMARY KEY (content_hash), 
	CONSTRAINT ck_tuner_workloads_content_hash_given CHECK (content_hash <> '')
);
INSERT INTO "tuner_workloads" VALUES('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','chat','{"seed":0}','{"requests":12}');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE INDEX ix_tuner_studies_created_at_id ON tuner_studies (created_at, id);
CREATE INDEX ix_tuner_studies_model_created_at ON tuner_studies (model, created_at);
CREATE INDEX ix_tuner_recommendations_created_at_id ON tuner_recommendations (created_at, id);
CREATE INDEX ix_tuner_recommendations_model_accelerator_created_at ON tuner_recommendations (model, accelerator, created_at);
CREATE INDEX ix_tuner_recommendations_study_id_created_at ON tuner_recommendations (study_id, created_at);
CREATE INDEX ix_tuner_recommendations_workload_hash ON tuner_recommendations (workload_hash);
CREATE INDEX ix_tuner_trials_environment ON tuner_trials (environment);
CREATE INDEX ix_tuner_trials_study_id_state ON tuner_trials (study_id, state);
CREATE INDEX ix_tuner_trials_workload_hash ON tuner_trials (workload_hash);
CREATE INDEX ix_tuner_comparisons_baseline_trial_id ON tuner_comparisons (baseline_trial_id);
CREATE INDEX ix_tuner_comparisons_candidate_trial_id ON tuner_comparisons (candidate_trial_id);
CREATE INDEX ix_tuner_comparisons_cell ON tuner_comparisons (study_id, block_size, max_num_batched_tokens);
CREATE INDEX ix_tuner_measurements_trial_id_round_position ON tuner_measurements (trial_id, round, position);
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
CREATE UNIQUE INDEX uq_tuner_api_tokens_name ON tuner_api_tokens (name) WHERE revoked_at IS NULL;
CREATE INDEX ix_tuner_recommendations_hardware ON tuner_recommendations (accelerator, device_count, created_at);
CREATE INDEX ix_tuner_audit_kind_subject_id ON tuner_audit (kind, subject, id);
CREATE INDEX ix_tuner_foresight_kind_model_id ON tuner_foresight (kind, model, id);
CREATE INDEX ix_tuner_capacity_runs_environment ON tuner_capacity_runs (environment);
CREATE INDEX ix_tuner_capacity_runs_model_id ON tuner_capacity_runs (model, id);
CREATE INDEX ix_tuner_capacity_runs_workload_hash ON tuner_capacity_runs (workload_hash);
CREATE UNIQUE INDEX uq_tuner_submissions_study ON tuner_submissions (study) WHERE state IN ('QUEUED', 'RUNNING', 'CANCELLING');
CREATE INDEX ix_tuner_submissions_state_priority_id ON tuner_submissions (state, priority, id);
CREATE INDEX ix_tuner_submissions_team_state ON tuner_submissions (team, state);
CREATE INDEX ix_tuner_submission_events_submission_id_id ON tuner_submission_events (submission_id, id);
CREATE INDEX ix_tuner_fleet_workers_seen_at ON tuner_fleet_workers (seen_at);
CREATE UNIQUE INDEX uq_tuner_quarantines_host ON tuner_quarantines (host) WHERE released_at IS NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('tuner_studies',1);
INSERT INTO "sqlite_sequence" VALUES('tuner_trials',3);
INSERT INTO "sqlite_sequence" VALUES('tuner_measurements',2);
INSERT INTO "sqlite_sequence" VALUES('tuner_profiles',1);
INSERT INTO "sqlite_sequence" VALUES('tuner_comparisons',1);
INSERT INTO "sqlite_sequence" VALUES('tuner_recommendations',1);
INSERT INTO "sqlite_sequence" VALUES('tuner_api_tokens',2);
INSERT INTO "sqlite_sequence" VALUES('tuner_foresight',1);
INSERT INTO "sqlite_sequence" VALUES('tuner_audit',3);
INSERT INTO "sqlite_sequence" VALUES('tuner_capacity_runs',1);
INSERT INTO "sqlite_sequence" VALUES('tuner_capacity_windows',1);
INSERT INTO "sqlite_sequence" VALUES('tuner_submissions',1);
INSERT INTO "sqlite_sequence" VALUES('tuner_submission_events',1);
COMMIT;
