# Slow article list | with a <pipe>
# From the change record changes/2026-11-22-article-list.yaml, by demarc change show --make.
#
#   make -f FILE change                       backup, deploy, health and verify on production
#   make -f FILE change ENVIRONMENT=staging
#   make -f FILE rollback                     take it back

ENVIRONMENT ?= production
ifeq ($(filter $(ENVIRONMENT),staging production),)
$(error ENVIRONMENT is staging or production)
endif
SHELL := /bin/sh
ifeq ($(ENVIRONMENT),staging)
export DEMARC_BACKUP ?= $(CURDIR)/backup-of-staging
export DEMARC_SCRATCH ?= $(CURDIR)/scratch
export DEMARC_SCRATCH_NAME ?= demarc_scratch
endif
ifeq ($(ENVIRONMENT),production)
export DEMARC_BACKUP ?= $(CURDIR)/backup-of-production
export DEMARC_SCRATCH ?= $(CURDIR)/scratch
export DEMARC_SCRATCH_NAME ?= demarc_scratch
endif
.NOTPARALLEL:
.PHONY: help change checklist backup restore deploy health verify rollback

help:
	@echo 'targets: change backup restore deploy health verify rollback checklist'

ifeq ($(ENVIRONMENT),staging)

change:
	@$(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) ENVIRONMENT=staging backup
	@$(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) ENVIRONMENT=staging deploy
	@$(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) ENVIRONMENT=staging health

backup:
	pg_dump -Fc shop > "$$DEMARC_BACKUP"

restore:
	@mkdir -p "$$DEMARC_SCRATCH"
	pg_restore -d "$$DEMARC_SCRATCH_NAME" "$$DEMARC_BACKUP"

deploy:
	export VERSION='1.1'; DEPLOY_TOKEN="$${SHOP_DEPLOY_TOKEN:?is a secret that is not set}"; export DEPLOY_TOKEN; eval "$$(printf '%s\n' './deploy.sh "$$VERSION" # it'\''s $$5' 'echo '\''done: `ok`'\''')"

health:
	curl -fsS http://127.0.0.1:8000/health

verify:
	@echo 'the record has no verify command for staging' >&2; exit 1

rollback:
	./deploy.sh 1.0

endif
ifeq ($(ENVIRONMENT),production)

change:
	@$(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) ENVIRONMENT=production backup
	@$(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) ENVIRONMENT=production deploy
	@$(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) ENVIRONMENT=production health

backup:
	pg_dump -Fc shop > "$$DEMARC_BACKUP"

restore:
	@mkdir -p "$$DEMARC_SCRATCH"
	pg_restore -d "$$DEMARC_SCRATCH_NAME" "$$DEMARC_BACKUP"

deploy:
	export VERSION='1.1'; DEPLOY_TOKEN="$${SHOP_DEPLOY_TOKEN:?is a secret that is not set}"; export DEPLOY_TOKEN; eval "$$(printf '%s\n' './deploy.sh "$$VERSION" # it'\''s $$5' 'echo '\''done: `ok`'\''')"

health:
	curl -fsS https://shop.example.org/health

verify:
	@echo 'the record has no verify command for production' >&2; exit 1

rollback:
	./deploy.sh 1.0

endif

checklist:
	@echo '[ ] run linting: ruff check .'
	@echo '[ ] create a safe backup'
	@echo '[ ] test the smallest change'
	@echo '[ ] tell the people of the shop'
	@echo '[ ] write the final note'
