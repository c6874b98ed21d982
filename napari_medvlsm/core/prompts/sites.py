"""Words for parts of the body, which tell one tumor or ulcer from another."""

from __future__ import annotations

# Nouns and adjectives. Toes, heels and soles are left out: an ulcer there is one of the foot.
SITES = frozenset(
    """abdominal adrenal anal arm axillary biliary bladder bone bowel brain breast bronchial cardiac cerebellar cerebral
    cervical cervix chest choroidal colon colonic colorectal conjunctival cornea corneal cranial cutaneous dental dermal
    duodenal duodenum ear endometrial esophageal esophagus eye facial finger foot gallbladder gastric genital gingival
    hand head heart hepatic hip intestinal intestine intracranial jaw kidney knee laryngeal larynx leg lip liver lung
    lymph mammary mediastinal meningeal mouth muscle nasal neck nose ocular oesophageal oesophagus oral ovarian ovary
    pancreas pancreatic parathyroid parotid pelvic penile peptic peritoneal pharyngeal pituitary placental pleural
    prostate prostatic pulmonary rectal rectum renal retina retinal rib salivary scalp sinus skin skull spinal spine
    spleen splenic stomach testicular testis throat thymic thyroid tongue tonsil tracheal ureteral urethral urinary
    uterine uterus uveal vaginal vertebral vulvar""".split()
)
