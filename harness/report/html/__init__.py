"""The HTML report: one file for one or more campaigns, from `report.campaign_data`. The paper as HTML is in `paper`."""
