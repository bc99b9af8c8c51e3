"""The papers whose methods are used here, by how a text cites them."""

__all__ = ["PAPERS", "cited"]

PAPERS = {
    "Kriegeskorte, Mur & Bandettini, 2008": "Kriegeskorte N, Mur M, Bandettini P (2008). Representational similarity "
    "analysis: connecting the branches of systems neuroscience. Front Syst Neurosci 2:4.",
    "Kriegeskorte, Goebel & Bandettini, 2006": "Kriegeskorte N, Goebel R, Bandettini P (2006). Information-based "
    "functional brain mapping. Proc Natl Acad Sci USA 103:3863-3868.",
    "Mumford et al., 2012": "Mumford JA, Turner BO, Ashby FG, Poldrack RA (2012). Deconvolving BOLD activation in "
    "event-related designs for multivoxel pattern classification analyses. NeuroImage 59:2636-2643.",
    "Walther et al., 2016": "Walther A, Nili H, Ejaz N, Alink A, Kriegeskorte N, Diedrichsen J (2016). Reliability of "
    "dissimilarity measures for multi-voxel pattern analysis. NeuroImage 137:188-200.",
    "Guggenmos et al., 2018": "Guggenmos M, Sterzer P, Cichy RM (2018). Multivariate pattern analysis for MEG: a "
    "comparison of dissimilarity measures. NeuroImage 173:434-447.",
    "Ledoit & Wolf, 2004": "Ledoit O, Wolf M (2004). A well-conditioned estimator for large-dimensional covariance "
    "matrices. J Multivar Anal 88:365-411.",
    "Schäfer & Strimmer, 2005": "Schäfer J, Strimmer K (2005). A shrinkage approach to large-scale covariance matrix "
    "estimation and implications for functional genomics. Stat Appl Genet Mol Biol 4:32.",
    "Schütt et al., 2023": "Schütt HH, Kipnis AD, Diedrichsen J, Kriegeskorte N (2023). Statistical inference on "
    "representational geometries. eLife 12:e82566.",
    "Nili et al., 2014": "Nili H, Wingfield C, Walther A, Su L, Marslen-Wilson W, Kriegeskorte N (2014). A toolbox for "
    "representational similarity analysis. PLoS Comput Biol 10:e1003553.",
    "Nimon & Oswald, 2013": "Nimon K, Oswald FL (2013). Understanding the results of multiple linear regression: "
    "beyond standardized regression coefficients. Organ Res Methods 16:650-674.",
    "Hebart et al., 2018": "Hebart MN, Bankson BB, Harel A, Baker CI, Cichy RM (2018). The representational dynamics "
    "of task and object processing in humans. eLife 7:e32816.",
    "Fischl et al., 1999": "Fischl B, Sereno MI, Tootell RBH, Dale AM (1999). High-resolution intersubject averaging "
    "and a coordinate system for the cortical surface. Hum Brain Mapp 8:272-284.",
    "Storrs et al., 2021": "Storrs KR, Kietzmann TC, Walther A, Mehrer J, Kriegeskorte N (2021). Diverse deep neural "
    "networks all predict human inferior temporal cortex well, after training and fitting. J Cogn Neurosci "
    "33:2044-2064.",
    "Cichy et al., 2014": "Cichy RM, Pantazis D, Oliva A (2014). Resolving human object recognition in space and time. "
    "Nat Neurosci 17:455-462.",
    "Cichy et al., 2016": "Cichy RM, Khosla A, Pantazis D, Torralba A, Oliva A (2016). Comparison of deep neural "
    "networks to spatio-temporal cortical dynamics of human visual object recognition reveals hierarchical "
    "correspondence. Sci Rep 6:27755.",
    "Smith & Nichols, 2009": "Smith SM, Nichols TE (2009). Threshold-free cluster enhancement: addressing problems of "
    "smoothing, threshold dependence and localisation in cluster inference. NeuroImage 44:83-98.",
    "Bullmore et al., 1999": "Bullmore ET, Suckling J, Overmeyer S, Rabe-Hesketh S, Taylor E, Brammer MJ (1999). "
    "Global, voxel, and cluster tests, by theory and permutation, for a difference between two groups of structural "
    "MR images of the brain. IEEE Trans Med Imaging 18:32-42.",
    "Forman et al., 1995": "Forman SD, Cohen JD, Fitzgerald M, Eddy WF, Mintun MA, Noll DC (1995). Improved assessment "
    "of significant activation in functional magnetic resonance imaging (fMRI): use of a cluster-size threshold. Magn "
    "Reson Med 33:636-647.",
    "Freedman & Lane, 1983": "Freedman D, Lane D (1983). A nonstochastic interpretation of reported significance "
    "levels. J Bus Econ Stat 1:292-298.",
    "Winkler et al., 2014": "Winkler AM, Ridgway GR, Webster MA, Smith SM, Nichols TE (2014). Permutation inference "
    "for the general linear model. NeuroImage 92:381-397.",
    "Nichols & Holmes, 2002": "Nichols TE, Holmes AP (2002). Nonparametric permutation tests for functional "
    "neuroimaging: a primer with examples. Hum Brain Mapp 15:1-25.",
    "Benjamini & Hochberg, 1995": "Benjamini Y, Hochberg Y (1995). Controlling the false discovery rate: a practical "
    "and powerful approach to multiple testing. J R Stat Soc B 57:289-300.",
    "Benjamini & Yekutieli, 2001": "Benjamini Y, Yekutieli D (2001). The control of the false discovery rate in "
    "multiple testing under dependency. Ann Stat 29:1165-1188.",
    "Stelzer et al., 2013": "Stelzer J, Chen Y, Turner R (2013). Statistical inference and multiple testing correction "
    "in classification-based multi-voxel pattern analysis (MVPA): random permutations and cluster size control. "
    "NeuroImage 65:69-82.",
    "Taylor et al., 2023": "Taylor PA, Reynolds RC, Calhoun V, Gonzalez-Castillo J, Handwerker DA, Bandettini PA, "
    "Mejia AF, Chen G (2023). Highlight results, don't hide them: enhance interpretation, reduce biases and improve "
    "reproducibility. NeuroImage 274:120138.",
}
"""Author and year, as texts cite a paper, and its reference. An entry of a table names its paper by this key."""


def cited(text: str) -> list[str]:
    """Return the references of all papers that a text cites.

    Examples
    --------
    >>> cited("whitened (Ledoit & Wolf, 2004)")[0][:22]
    'Ledoit O, Wolf M (2004'
    """
    return [reference for citation, reference in PAPERS.items() if citation in text]
